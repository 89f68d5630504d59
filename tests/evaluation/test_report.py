import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from domainclip import plot
from domainclip.domains.labels import LabelTree
from domainclip.evaluation.metrics import Confusion, ScoreRow, Tally
from domainclip.evaluation.report import write_report
from domainclip.plot import Example

EVIL = "<script>alert('x')</script> & \"co\""


class Page(HTMLParser):
    """Collects tags, links and text, and refuses tags that do not nest."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.stack, self.links, self.tags, self.text = [], [], [], ""
        self.feed(text)
        assert not self.stack

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for k, v in attributes if k in ("src", "href")]
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] != "style":
            self.text += data


def row(metric="top1", value=0.5, low=0.4, high=0.6, rank="species", split="test", left_out=0):
    return ScoreRow(split, "seen", rank, metric, value, low, high, 120, left_out)


def example(right=True, name="a", size=300):
    image = np.full((size, size, 3), 90, dtype=np.uint8)
    return Example(image, "a", (name, "b", "c"), (0.7, 0.2, 0.1), right, id="test/000001")


def written(folder, **options):
    given = {"title": "t", "recipe_yaml": "domain: x\n", "environment": {}, "rows": [row()]}
    path = write_report(folder, **(given | options))
    return Page(path.read_text(encoding="utf-8"))


def test_page_is_self_contained_and_its_pictures_exist(tmp_path):
    page = written(
        tmp_path,
        history=[{"step": 1, "train_loss": 2.0}, {"step": 2, "val_top1": 0.4}],
        confusions=[Confusion("species", ("a", "b"), np.array([[3, 1], [0, 4]]), ())],
        best=[example()],
        worst=[example(False, "b")],
        sheet=plot.contact_sheet([example().image], ["a"]),
    )
    assert len(page.links) == 5
    for link in page.links:
        assert not re.match(r"[a-z]+:|/", link)
        with Image.open(tmp_path / link) as picture:
            picture.load()
            if link.startswith(("pictures/best", "pictures/worst")):
                assert max(picture.size) <= 192
    assert "script" not in page.tags and "link" not in page.tags
    assert "1 of 4" in page.text  # the one confusion, told as well as drawn
    assert not list(tmp_path.glob("*.partial"))


def test_every_text_of_the_user_is_escaped(tmp_path):
    page = written(
        tmp_path,
        title=EVIL,
        notice=EVIL,
        recipe_yaml=f"about: {EVIL}",
        environment={EVIL: {EVIL: [EVIL]}},
        rows=[ScoreRow(EVIL, EVIL, EVIL, "top1", 0.5, None, None, 3)],
        confusions=[Confusion(EVIL, (EVIL, "b"), np.array([[1, 1], [1, 0]]), ((EVIL, 0, 1),))],
        best=[Example(example().image, EVIL, (EVIL, EVIL), (0.6, 0.4), True, EVIL)],
        next_commands=[EVIL],
    )
    assert "script" not in page.tags
    assert page.text.count(EVIL) >= 15
    assert all("<" not in link for link in page.links)


def test_numbers_intervals_and_what_was_left_out(tmp_path):
    rows = [row(rank="family", value=0.973, low=0.96, high=0.985), row(left_out=7)]
    rows.append(row("mean_per_class", 0.481, 0.45, 0.52, left_out=7))
    page = written(tmp_path, rows=rows, error_distance=3.25)
    for said in ("97.3%", "[96.0–98.5]", "48.1%", "[45.0–52.0]", "120", "3.25 steps", "not scored"):
        assert said in page.text
    assert "50.0% (95% interval 40.0–60.0) of 120 pictures of test" in page.text
    assert "top-5" not in page.text  # nothing was measured under that name
    plain = written(tmp_path, rows=[row(low=None, high=None)])
    assert "interval" not in plain.text and "not scored" not in plain.text


def test_schematic_data_is_called_schematic_and_a_notice_is_shown(tmp_path):
    assert "schematic" in written(tmp_path, schematic=True).text
    assert "schematic" not in written(tmp_path, schematic=False).text
    assert "Not for clinical use." in written(tmp_path, notice="Not for clinical use.").text


def test_a_run_without_anything_still_has_a_page(tmp_path):
    page = written(tmp_path, rows=[])
    assert "How it was made" in page.text and "Results" not in page.text


def test_a_large_confusion_is_told_and_not_drawn(tmp_path):
    counts = np.eye(500, dtype=np.int64)
    counts[3, 4] = 9
    names = tuple(f"label {i}" for i in range(500))
    page = written(tmp_path, confusions=[Confusion("species", names, counts, ())])
    assert "too many to draw" in page.text and "9 of 10" in page.text
    assert not page.links


@pytest.mark.parametrize("size", [1, 3, 80])
def test_confusion_figure_shows_shares(size):
    counts = np.zeros((size, size), dtype=np.int64)
    counts[0, -1] = 4
    figure = plot.confusion([f"$n_{i}$" for i in range(size)], counts, [("block", 0, 1)])
    shown = figure.axes[0].images[0].get_array()
    assert shown[0, -1] == 1.0 and shown.sum() == 1.0
    figure.canvas.draw()  # an unbalanced $ would fail here


def test_figures_draw_whatever_they_are_given(tmp_path):
    few = [example(), example(False, "b")]
    figures = [
        plot.contact_sheet([]),
        plot.contact_sheet([e.image for e in few] * 5, ["a $ b"] * 10, columns=4, title="$"),
        plot.training_curves([]),
        plot.training_curves([{"step": 1, "train_loss": None}, {"step": 2, "val_top1": 0.0}]),
        plot.prediction_strips([]),
        plot.prediction_strips(few, title="x"),
        plot.best_and_worst(few[:1], few[1:]),
        plot.best_and_worst([], []),
    ]
    for i, figure in enumerate(figures):
        figure.savefig(tmp_path / f"{i}.png", dpi=40)


def test_the_true_name_is_green_and_a_wrong_first_one_red():
    figure = plot.prediction_strips([example(False, "b"), example()])
    colours = [[bar.get_facecolor() for bar in axis.patches] for axis in figure.axes[1::2]]
    wrong, right = colours
    from matplotlib.colors import to_rgba

    assert wrong[0] == to_rgba(plot.WRONG)
    assert right[0] == to_rgba(plot.RIGHT)
    assert to_rgba(plot.RIGHT) not in wrong  # the truth is not among the names


def test_a_tally_fills_a_report(tmp_path):
    names = ["a", "b", "c", "d"]
    tree = LabelTree.from_columns({"family": ["A", "A", "B", "B"], "species": names})
    nodes = tree.nodes_of({"family": ["A", "A", "B", "B"], "species": names})
    import torch

    tally = Tally(tree, nodes)
    tally.add(torch.eye(4)[[0, 0, 2, 3]], nodes)
    rows = tally.rows(split="test", candidates_name="all", bootstrap=50)
    page = written(tmp_path, rows=rows, confusions=[tally.confusion(r) for r in tally.ranks])
    assert "Confusion along the tree: species" in page.text and "75.0%" in page.text
