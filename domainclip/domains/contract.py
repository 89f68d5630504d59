"""What a domain supplies: the values and protocols that every plug fills in, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from .labels import LabelTree

LabelKey: TypeAlias = tuple[str, ...]
"""A label is its full lineage, coarsest first; "" where a rank is missing, none at the end."""

Traits: TypeAlias = Mapping[str, str]
"""Visible characters by name, such as `{"ground colour": "orange", "veins": "black"}`."""

Split: TypeAlias = Literal["train", "val", "test", "test_unseen"]

FORMAL, COMMON = "formal", "common"
"""The two vocabularies that text views draw on; a domain says what it calls them."""


class Augmentation(Protocol):
    """Gives what training pictures go through."""

    def __call__(self, size: int, crop: float = ...) -> Callable[..., Mapping[str, Any]]:
        """Return an albumentations transform.

        Args:
            size: Side in pixels of the pictures that it returns.
            crop: Least share of a picture's area that a random crop takes; has a default.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One picture with everything known about it.

    `image` is a path, the encoded bytes, or uint8 pixels of shape (height, width, 3).
    """

    id: str
    image: str | bytes | NDArray[np.uint8]
    label: LabelKey
    split: str = "train"
    captions: tuple[str, ...] = ()
    group: str = ""
    """The patient, slide, tile cell or specimen that must not be in two splits."""
    licence: str = ""
    traits: Traits = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """How a label is said at zero-shot time.

    Published numbers reproduce only with the same templates, cleaning and pooling order.
    """

    templates: tuple[str, ...] = ("{}",)
    """Sentences with one `{}` where the label's name goes."""
    clean: Callable[[str], str] = str
    """Class-name cleaning, applied to a name before it enters a template."""
    pooling: Literal["normalise-mean", "mean-normalise"] = "normalise-mean"
    """`normalise-mean`: mean of unit vectors, then unit length (CLIP); `mean-normalise`: mean of
    the raw features, then unit length (GeoRSCLIP)."""

    def __post_init__(self) -> None:
        """Refuse templates without a place for the name."""
        bad = [t for t in self.templates if t.count("{}") != 1]
        if bad or not self.templates:
            raise ValueError(f"a template needs exactly one {{}}: {bad or 'none given'}")

    def say(self, name: str) -> tuple[str, ...]:
        """Return the sentences for one label name."""
        return tuple(t.replace("{}", self.clean(name)) for t in self.templates)


@dataclass(frozen=True, kw_only=True)
class TraitSheet:
    """The visible characters that all individuals of one label share."""

    label: LabelKey
    traits: Traits
    seen: bool = True
    """False for a label that is never trained on, which only a description can name."""


@dataclass(frozen=True, kw_only=True)
class BuiltinData:
    """Schematic pictures of a domain, drawn from trait sheets by seeded code.

    Every function is a module-level function (worker processes pickle it) and is deterministic in
    the random generator it is given. Traits come in two layers: those of the sheet, and those of
    the individual that the sheet leaves open.
    """

    sheets: Callable[[], tuple[TraitSheet, ...]]
    individual: Callable[[TraitSheet, np.random.Generator], dict[str, str]]
    """Draws the traits of one individual (sex, view, wear, stage, background)."""
    draw: Callable[[Traits, np.random.Generator, int], NDArray[np.uint8]]
    """Draws one picture of shape (size, size, 3) from all traits; pose and light are nuisance."""
    captions: Callable[[Traits, np.random.Generator], tuple[str, ...]]
    """Says one picture without its label's name: the reference caption first, then shorter ones."""
    describe: Callable[[Traits], tuple[str, ...]]
    """Says a label by the traits of its sheet alone, without its name; for labels never seen."""
    sizes: Mapping[str, int]
    """Pictures per split: train, val, test, test_unseen."""
    licence: str = ""
    """SPDX identifier of the licence that the pictures are under; "" for one not known."""


@dataclass(frozen=True, kw_only=True)
class TraitWords:
    """The words of a field for what can be seen; what reads traits out of text goes by them.

    All words are lower case. `phrases` is exact and comes first; `parts` and `qualities` say the
    same more loosely ("red wings": part wing, quality colour, value red).
    """

    phrases: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """Trait -> value -> the ways to say it, the standard way first; `{other trait}` in a way stands
    for any value of that trait, which is then said too."""
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What can be seen -> words for it: `{"wing": ("wing", "wings", "forewing")}`."""
    qualities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Kind of quality -> words for it: `{"colour": ("red", "orange")}`."""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Part -> names of the groups that can have it; any group may have a part not named here."""
    hidden: tuple[str, ...] = ()
    """Words of sentences that say what no picture shows: range, sound, history, size in units."""
    some: tuple[str, ...] = ()
    """Words that limit a sentence to some individuals: male, female, juvenile; plain English ones
    ("sometimes", "may") are known without."""
    uncounted: tuple[str, ...] = ()
    """Words of parts that take no "a" in the singular: "fur", "plumage"."""

    @classmethod
    def read(cls, path: Path) -> TraitWords:
        """Read them from a YAML file whose keys are the attributes, in any selection."""
        import yaml  # only those who gather facts pay for it

        parts = yaml.safe_load(path.read_text(encoding="utf-8"))
        phrases = {
            trait: {value: tuple(ways) for value, ways in values.items()}
            for trait, values in parts.pop("phrases", {}).items()
        }
        hidden, some, uncounted = (
            tuple(parts.pop(name, ())) for name in ("hidden", "some", "uncounted")
        )
        lists = {
            part: {name: tuple(said) for name, said in words.items()}
            for part, words in parts.items()
        }
        return cls(phrases=phrases, hidden=hidden, some=some, uncounted=uncounted, **lists)


@dataclass(frozen=True, kw_only=True)
class WikiRules:
    """How a label's page is found in a MediaWiki, known for the right one, and read."""

    sections: tuple[str, ...]
    """Headings worth reading, best first; a heading that contains one counts, case ignored. With
    none of them the lead is read."""
    context: tuple[str, ...] = ()
    """Words in the lead or the categories that vouch for a page which names no ancestor."""
    boxes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Rank -> row headings of a page's classification box: `{"phylum": ("phylum", "division")}`."""
    endings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Rank -> endings of names that stand for one group ("phyta", "ophyta"), cut before names are
    compared."""
    language: str = "en"


@dataclass(frozen=True, kw_only=True)
class TagRule:
    """Says one tag of a sample in words: `TagRule(key="natural", value="water", say="a lake")`."""

    key: str
    value: str = "*"
    """The value it holds for; `*` for any."""
    say: str = "{value}"
    """The words; `{key}` and `{value}` are filled in, underscores as spaces."""
    visible: bool = True
    """False for what no picture shows, such as a place name: context for a captioner, no trait."""


@dataclass(frozen=True, kw_only=True)
class KnowledgeRules:
    """Where facts about a domain's labels come from, and which words in them can be seen."""

    words: Callable[[], TraitWords]
    wiki: WikiRules
    tags: tuple[TagRule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CaptionStyle:
    """How a captioner is asked: one role of several that a domain may have."""

    role: str
    """Who writes: "You are an entomologist describing strictly what is visible."."""
    goal: str
    attend: tuple[str, ...]
    """What to look at, the most telling first."""
    avoid: tuple[str, ...] = ()
    names: Literal["say", "omit"] = "say"
    """Name policy: whether the caption says the label's name or leaves it out."""
    form: Literal["line", "sentence", "dense"] = "sentence"
    max_words: int = 30
    excerpt: int = 600
    """Characters of knowledge that are quoted."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One specialised field, as a frozen value.

    The core never names a field: it asks this value. Nothing here imports torch; what is costly is
    a factory.
    """

    name: str
    """Lower case with underscores; what people type after `--domain`."""
    title: str
    summary: str
    """One sentence for `domainclip domains list`."""
    ranks: tuple[str, ...]
    """Ranks of a label, coarsest first."""
    labels: Callable[[], LabelTree]
    """Builds the domain's own label tree."""
    vocabularies: Mapping[str, str]
    """What the domain calls the `formal` and the `common` names, for people."""
    prompts: Mapping[str, PromptSet]
    """Prompt sets by name; "default" is required."""
    noun: str
    """What one picture shows, for captions and help: "butterfly", "blood cell", "tile"."""
    augment: Augmentation
    """Builds an albumentations transform, called as `t(image=array)["image"]`."""
    builtin: BuiltinData
    knowledge: KnowledgeRules | None = None
    """How facts about labels are gathered; None where a domain gathers none."""
    styles: Mapping[str, CaptionStyle] = field(default_factory=dict)
    """Caption styles by role; "default" is required where there are any."""
    examples: Callable[[], Mapping[str, tuple[str, ...]]] = dict
    """Example captions by the name of a group of labels at any rank ("Lepidoptera", or its lineage
    "Animalia > Arthropoda" where a name is ambiguous); "" for labels of no such group."""
    read_image: Callable[[str | bytes], Image.Image] | None = None
    """Opens a picture that Pillow cannot (DICOM, GeoTIFF); None for Pillow."""
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """More column names to try per part ("label", "group", a rank), in order."""
    notice: str = ""
    """Shown with every result where a field demands it, such as "not for clinical use"."""
    result_columns: Callable[[Mapping[str, str]], Mapping[str, str]] | None = None
    """Adds columns that people of the field expect to a result's names by rank."""
    recipe: str = "quickstart"
    """The recipe used when none is named."""
