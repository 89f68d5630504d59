"""The report: counts, truth, struck words, and a page that stands alone."""

import re
import shutil

import pytest

from domainclip.captioning.audit import Row, count_traits, read_audit, totals
from domainclip.captioning.checks import corpus
from domainclip.captioning.checks.context import Verdict
from domainclip.captioning.report import pick, report, strike
from domainclip.captioning.store import CaptionStore
from domainclip.data.samples import open_samples
from domainclip.domains.registry import get_domain
from domainclip.errors import DataError
from domainclip.knowledge.lexicon import Lexicon


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Captions of built-in pictures: one kept, one rewritten, one rejected, and an odd one."""
    folder = tmp_path_factory.mktemp("captions")
    domain = get_domain("biology")
    samples = open_samples(domain, splits=["train"], limit=4)
    made = {"captioner": "openai", "model": "m<1>", "domain": "biology"}
    with CaptionStore(folder, made, data={"source": "builtin", "seed": 0}) as store:
        for i, one in enumerate(samples.ids):
            sample = samples.facts(i)
            row = {
                "sample_id": one,
                "label": " > ".join(sample.label),
                "written": sample.captions[0],
                "caption": sample.captions[0],
                "outcome": "kept",
                "tokens_in": 100,
                "tokens_out": 20,
            }
            if i == 1:
                wrong = "yellow" if sample.traits["ground colour"] != "yellow" else "blue"
                row |= {
                    "written": f"A butterfly with {wrong} wings & <b>no tails</b>.",
                    "caption": "A butterfly with no tails.",
                    "outcome": "rewritten",
                    "dropped": [f"{wrong} wings"],
                    "checks": [
                        {"check": "contradiction", "outcome": "drop-claim", "reason": "x < y"}
                    ],
                }
            if i == 2:
                row |= {
                    "caption": "",
                    "written": "I'm sorry.",
                    "outcome": "rejected",
                    "checks": [{"check": "refusal", "outcome": "reject", "reason": "declined"}],
                }
            store.append(row)
    corpus.write_verdicts(store.folder, {samples.ids[0]: [Verdict("score", "reject", "low")]})
    return folder


def test_counts_are_told_and_written(folder, tmp_path):
    told = report(folder, tmp_path / "page.html", price_in=1000, price_out=5000)
    assert (told["kept"], told["rewritten"], told["rejected"]) == (1, 1, 2)
    assert (
        told["contradiction: drop-claim"] == told["refusal: reject"] == told["score: reject"] == 1
    )
    labels = read_audit(folder).labels  # the score's rejections are told there as well
    assert sum(counts["rejected"] for counts in labels.values()) == 2
    assert told["cost"] == pytest.approx(0.4 + 0.4)
    stored = (told[f"traits of labels: precision{said}"] for said in ("", " as written"))
    assert tuple(stored) == (0.875, 0.8824)  # 7 of 8 that are used, 15 of 17 that were written


def test_the_page_stands_alone_and_escapes_what_it_shows(folder, tmp_path):
    report(folder, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "<b>no tails</b>" not in page and "no tails&lt;/" in page
    assert "m&lt;1&gt;" in page and "x &lt; y" in page
    assert re.search(r"<del>\w+ wings ", page)
    assert "schematic" in page and "</b> low</li>" in page  # why the score rejects it
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_truth_is_counted_by_trait(folder):
    domain = get_domain("biology")
    samples = open_samples(domain, splits=["train"])
    audit = read_audit(folder)
    counts = {c.trait: c for c in count_traits(audit, samples, Lexicon(domain.knowledge.words()))}
    colour, sex = counts["ground colour"], counts["sex"]
    assert (colour.pictures, colour.written, colour.written_true) == (4, 3, 2)
    assert (colour.stored, colour.stored_true, colour.said_true) == (1, 1, 1)
    assert (colour.precision_written, colour.precision, colour.recall) == (2 / 3, 1.0, 0.25)
    assert colour.shared and not sex.shared
    labels, individuals = totals(counts.values())
    assert labels.pictures == sum(c.pictures for c in counts.values() if c.shared)
    assert individuals.precision == 1.0


def test_a_report_needs_no_pictures(folder, tmp_path):
    samples = open_samples(get_domain("biology"), splits=["val"], limit=2)
    told = report(folder, tmp_path / "page.html", samples=samples)
    assert told["captions"] == 4
    assert (tmp_path / "page.html").read_text().count("no picture") == 4


def test_no_captions_are_an_error_with_a_way_on(tmp_path):
    with pytest.raises(DataError, match="no captions"):
        report(tmp_path, tmp_path / "page.html")


def test_what_is_corrupt_is_told_and_the_rest_is_counted(folder, tmp_path):
    copy, told = tmp_path / "captions", []
    shutil.copytree(folder, copy)
    (verdicts,) = copy.glob("*/verdicts.parquet")
    verdicts.write_bytes(b"PAR1 and no more")
    assert report(copy, tmp_path / "page.html", tell=told.append)["captions"] == 4
    assert len(told) == 1 and "verdicts.parquet is corrupt; set aside" in told[0]


def test_an_unwritable_page_is_an_error(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        report(folder, tmp_path / "file" / "page.html")


@pytest.mark.parametrize(
    ("written", "stored", "struck"),
    [
        ("Red wings, red tails.", "Red tails.", "<del>Red wings</del>, red tails."),
        ("A lamp with red shades.", "A lamp.", "A lamp <del>with red shades</del>."),
        ("A large oval cell.", "An oval cell.", "<del>A large</del> oval cell."),
        ("a < b  & c", "a b", "a &lt; b &amp; <del>c</del>"),
        ("text", "Text", "text"),
        ("text", "", "<del>text</del>"),
    ],
)
def test_words_that_were_taken_out_are_struck_through(written, stored, struck):
    assert strike(written, stored) == struck


def test_examples_differ_before_they_repeat():
    rows = [Row(f"{i}", "c", f"label {i % 3}", "c", "kept", (), ()) for i in range(90)]
    picked = pick(rows, 6)
    assert sorted(row.label for row in picked) == sorted(f"label {i % 3}" for i in range(6))
    assert picked == pick(list(reversed(rows)), 6)


def test_the_page_says_who_wrote_and_leaves_out_what_is_nothing(folder, tmp_path):
    report(folder, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<dt>tokens read</dt><dd>400</dd>" in page
    made = {
        "captioner": "bank", "model": "seeded choice", "domain": "biology",
        "settings": {"choice": "seeded choice", "form": "line"},
    }  # fmt: skip
    with CaptionStore(tmp_path / "own", made) as store:
        store.append({"sample_id": "a", "label": "x", "written": "Y.", "caption": "Y.",
                      "outcome": "kept", "seconds": 0.0001})  # fmt: skip
    report(tmp_path / "own", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<h1>Captions by the bank (seeded choice)</h1>" in page
    assert "<dt>settings</dt><dd>form line</dd>" in page
    assert "<dt>tokens" not in page and "seconds a caption" not in page
    assert re.search(r"<dt>last run</dt><dd>[-\d]+T\d\d:\d\d:\d\d(?:\+00:00|Z)?</dd>", page)
