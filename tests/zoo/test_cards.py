"""The cards that ship, and how a wrong card is refused."""

import open_clip
import pytest
from open_clip.pretrained import get_pretrained_cfg, list_pretrained

from domainclip.domains.registry import get_domain
from domainclip.errors import DataError
from domainclip.zoo.card import read_card, read_card_file
from domainclip.zoo.catalogue import find_cards

CARDS = {name: entry.read() for name, entry in find_cards().items()}
_WANTED = """
biology/bioclip biology/bioclip-inat-only biology/bioclip-2 biology/bioclip-2.5 biology/biocap
biology/biotrove-clip-o medical/biomedclip medical/bmc-clip medical/quiltnet-b-32
medical/quiltnet-b-16 medical/quiltnet-b-16-pmb medical/plip medical/pmc-clip medical/conch
medical/medsiglip medical/unimed-clip-b-16 remote_sensing/remoteclip-rn50
remote_sensing/remoteclip-vit-b-32 remote_sensing/remoteclip-vit-l-14
remote_sensing/georsclip-vit-b-32 remote_sensing/georsclip-vit-l-14
remote_sensing/georsclip-vit-l-14-336 remote_sensing/georsclip-vit-h-14 remote_sensing/skyclip-l-14
remote_sensing/git-rsclip remote_sensing/clip-rsicd remote_sensing/streetclip
general/openai-vit-b-32 general/laion-vit-b-32 general/siglip2-b-16 general/metaclip-b-32
general/mobileclip2-s0
"""
GOOD = {
    "name": "general/one",
    "title": "One",
    "summary": "A model.",
    "source": {"repo": "somebody/one"},
    "licence": "MIT",
}


def test_the_models_people_ask_for_have_cards():
    assert set(_WANTED.split()) <= set(CARDS)


@pytest.mark.parametrize("name", [name for name, card in CARDS.items() if card.architecture])
def test_a_card_agrees_with_open_clip(name):
    card = CARDS[name]
    config = open_clip.get_model_config(card.architecture)
    assert config is not None, f"open_clip knows no {card.architecture}"
    assert card.dimension == config["embed_dim"]
    assert card.image_size == config["vision_cfg"]["image_size"]
    assert card.context == config["text_cfg"].get("context_length", 77)
    assert card.quick_gelu == config.get("quick_gelu", False)


@pytest.mark.parametrize("name", [name for name in CARDS if name.startswith("general/")])
def test_a_baseline_comes_from_where_open_clip_has_it(name):
    card = CARDS[name]
    tags = [tag for model, tag in list_pretrained() if model == card.architecture]
    known = {
        config["hf_hub"].rstrip("/"): config
        for config in (get_pretrained_cfg(card.architecture, tag) for tag in tags)
        if config.get("hf_hub")
    }
    assert card.source.repo in known
    assert card.mean == pytest.approx(known[card.source.repo]["mean"])
    assert card.std == pytest.approx(known[card.source.repo]["std"])


def test_cards_say_what_a_user_must_know():
    for name, card in CARDS.items():
        if name.startswith("medical/"):
            assert card.notice.startswith("Not for clinical use."), name
        if "-NC" in card.licence:
            assert card.commercial == "no" and card.restricted, name
        if "-ND" in card.licence:
            assert card.derivatives == "no", name
        if card.licence == "unknown":
            assert (card.commercial, card.derivatives) == ("unknown", "unknown"), name
        assert card.source.repo or card.blocked or card.by_hand, name
        assert card.page, name
        assert not card.summary.isspace() and len(card.summary) < 110, name


def test_prompt_sets_that_cards_name_exist():
    named = {(card.domain, card.prompts) for card in CARDS.values() if card.prompts}
    assert named and all(prompts in get_domain(domain).prompts for domain, prompts in named)


def test_both_heads_of_a_model_of_two_are_named():
    heads = CARDS["biology/biocap"].heads
    assert (heads["names"].projection, heads["names"].scale) == ("visual.proj", "logit_scale")
    assert heads["captions"].projection == "visual.caption_proj"
    assert heads["captions"].scale == "logit_scale_caption"


def test_the_text_tower_of_a_second_repository_is_pinned():
    text = CARDS["medical/biomedclip"].text_source
    assert text is not None and len(text.revision) == 40 and "vocab.txt" in text.files


def write(tmp_path, text):
    path = tmp_path / "one.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(tmp_path, text):
    with pytest.raises(DataError) as caught:
        read_card_file(write(tmp_path, text))
    return caught.value.message


def test_every_wrong_key_is_named_at_once_with_its_line(tmp_path):
    text = (
        "name: general/one\ntitel: One\nsummary: A model.\nlicence: MIT\nkind: pickle\n"
        "source:\n  repo: somebody/one\n  revison: main\n  revision: abc\n"
        "dimension: '512'\nimage_size: 0\nmean: [0.5, 0.5]\n"
        "scores:\n  - {on: a, metric: b, value: 1, source: c}\n  - {on: a, metrik: b}\n"
    )
    message = refused(tmp_path, text)
    path = tmp_path / "one.yaml"
    for line, said in [
        (1, "`title` is missing"),
        (2, "titel: there is no such key; did you mean 'title'?"),
        (
            5,
            "kind: one of open_clip, checkpoint, transformers, domainclip is expected, not",
        ),
        (8, "source.revison: there is no such key; did you mean 'revision'?"),
        (9, "source.revision: the 40 hexadecimal digits of a commit is expected, not 'abc'"),
        (10, "dimension: a whole number is expected, not '512'"),
        (11, "image_size: at least 1 is expected, not 0"),
        (12, "mean: 3 values are expected, not 2"),
        (15, "scores.1.metrik: there is no such key; did you mean 'metric'?"),
        (15, "scores.1: `value` is missing"),
    ]:
        assert f"{path}:{line}: {said}" in message, message
    assert "scores.0" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "one.yaml:1: keys and values are expected"),
        ("- a\n", "keys and values are expected"),
        ("name: [\n", "one.yaml: while parsing"),
        ("name: a/b\nname: a/c\n", ":1: name: this key stands twice"),
        ("a: &x {b: *x}\n", "no such key"),
        ("name: !!python/object:os.system x\n", "could not determine a constructor"),
    ],
)
def test_what_is_no_card_is_refused(tmp_path, text, said):
    assert said in refused(tmp_path, text)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"one\.yaml"):
        read_card_file(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "checkpoint"}, "a checkpoint needs `architecture`"),
        ({"kind": "checkpoint", "architecture": "RN50"}, "a checkpoint needs `source.files`"),
        ({"source": {}}, "`source.repo` is missing; say in `blocked`"),
        ({"heads": {"captions": {"projection": "x"}}}, "`heads` needs one called `names`"),
        ({"unverified": ["size"]}, "`unverified` names no keys of a card: size"),
        ({"name": "One"}, "name: `domain/model` in small letters is expected"),
        ({"gated": "no"}, "gated: true or false is expected, not 'no'"),
        ({"commercial": False}, "commercial: one of yes, no, unknown is expected, not False"),
        ({"std": [1, "a", 1]}, "std.1: a number is expected, not 'a'"),
        ({"mean": [float("nan")] * 3}, "mean.0: a number is expected, not nan"),
        ({"notice": 3}, "notice: text is expected, not 3"),
        ({"rename_keys": ["a"]}, "rename_keys: keys and values are expected"),
        ({"drop_keys": "a"}, "drop_keys: a list is expected"),
        ({"source": {"repo": "a/b/c"}}, "source.repo: `organisation/name` is expected"),
        ({"source": {"repo": "a/b", "sha256": {"f": "00"}}}, "source.sha256.f: the 64 hexadecimal"),
    ],
)
def test_wrong_values_are_refused(change, said):
    with pytest.raises(DataError) as caught:
        read_card({**GOOD, **change})
    assert said in caught.value.message


@pytest.mark.parametrize("file", ["../x", "a/../../x", "/etc/passwd", "a/..", "..\\x", ""])
def test_a_file_outside_the_repository_is_refused(file):
    with pytest.raises(DataError, match="a path inside the repository"):
        read_card({**GOOD, "source": {"repo": "a/b", "files": [file]}})


def test_a_card_says_everything_it_was_given():
    card = read_card({**GOOD, "mean": [0, 0.5, 1], "source": {"repo": "a/b", "files": ["a..b/c"]}})
    assert card.mean == (0.0, 0.5, 1.0) and card.source.files == ("a..b/c",)
    assert (card.domain, card.short, card.restricted) == ("general", "one", False)
    assert read_card({**GOOD, "gated": True}).restricted
    assert card.to_dict()["source"]["repo"] == "a/b"
