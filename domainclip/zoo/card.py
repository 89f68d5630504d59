"""What is known of a model before it is fetched: a YAML file a model, every word of it checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from domainclip.errors import DataError
from domainclip.recipe import yaml12

from .strict import AtLeast, Matches, Place, Problems, read_values

Name = Annotated[
    str, Matches(r"[a-z0-9_]+/[a-z0-9][a-z0-9._-]*", "`domain/model` in small letters")
]
HubId = Annotated[str, Matches(r"|[\w.-]+/[\w.-]+", "`organisation/name`")]
Commit = Annotated[str, Matches(r"|[0-9a-f]{40}", "the 40 hexadecimal digits of a commit")]
Digest = Annotated[str, Matches(r"[0-9a-f]{64}", "the 64 hexadecimal digits of a SHA-256")]
Inside = Annotated[
    str, Matches(r"(?!/)(?!.*\\)(?!(.*/)?\.\.(/|$)).+", "a path inside the repository")
]
Count = Annotated[int, AtLeast(1)]
Allowed = Literal["yes", "no", "unknown"]
Triple = tuple[float, float, float]
DEEPEST = 4
"""Levels of keys in a card, at most."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where files come from."""

    repo: HubId = ""
    """Hub id, `organisation/name`; empty where the files are not on a hub: such a checkpoint is
    fetched by hand from the `page` of the card."""
    repo_type: Literal["model", "dataset"] = "model"
    """A few publishers keep weights in a dataset repository."""
    revision: Commit = ""
    """The commit; empty where it is not known: the first pull records the one it found."""
    files: tuple[Inside, ...] = ()
    """Paths in the repository; empty for what the kind of model needs."""
    sha256: dict[str, Digest] = field(default_factory=dict)
    """File -> checksum, where it is known; the first pull records the rest."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """A projection of the pooled picture feature, where a checkpoint has more than one."""

    projection: str
    """Key of the matrix of shape (width, dimension)."""
    scale: str = "logit_scale"
    """Key of the logarithm of its logit scale."""


@dataclass(frozen=True, kw_only=True)
class LabelVectors:
    """Label vectors that the publishers of a model computed: pybioclip's pair of files."""

    source: Source
    """`files` names the vectors (`.npy`, dimension x labels), then the names (`.json`)."""
    labels: Count | None = None
    """How many labels they are of, where it is known."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A published figure."""

    on: str
    """Data set and, where it has several, the split or task."""
    metric: str
    """What was measured: top-1 accuracy, recall@1."""
    value: float
    source: str
    """Where it was published; figures of one model differ between papers by protocol."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A model of the zoo."""

    name: Name
    """`domain/model`."""
    title: str
    summary: str
    """One sentence: trained from what, on what, for what."""
    kind: Literal["open_clip", "checkpoint", "transformers", "domainclip"] = "open_clip"
    """`open_clip`: a hub folder with open_clip_config.json; `checkpoint`: bare weights plus
    `architecture`; `transformers`: a CLIPModel or SiglipModel folder; `domainclip`: a model folder
    of our own, with its heads, labels and calibration."""
    source: Source
    text_source: Source | None = None
    """The second repository that the text tower or its tokenizer comes from."""
    blocked: str = ""
    """Why domainclip cannot load it; empty for one that it can."""
    architecture: str = ""
    """open_clip's name of the towers."""
    towers: str = ""
    """The towers in words, where open_clip has no name for them."""
    quick_gelu: bool = False
    image_size: Count | None = None
    """Side of the input in pixels."""
    context: Count | None = None
    """Tokens per text."""
    dimension: Count | None = None
    """Length of a vector."""
    mean: Triple = (0.48145466, 0.4578275, 0.40821073)
    """Of the red, green and blue channel; the default is CLIP's."""
    std: Triple = (0.26862954, 0.26130258, 0.27577711)
    drop_keys: tuple[str, ...] = ()
    """Keys of the checkpoint that are left out; `*` stands for anything."""
    rename_keys: dict[str, str] = field(default_factory=dict)
    """Beginning of a key in the checkpoint -> that of open_clip; the longest wins."""
    heads: dict[str, Head] = field(default_factory=dict)
    """Names of heads -> where they lie in the checkpoint; empty for the one projection of CLIP."""
    prompts: str = ""
    """Prompt set that the model was published with; empty for the default of its domain."""
    label_vectors: LabelVectors | None = None
    megabytes: Count | None = None
    """What is fetched, as the hub lists it."""
    licence: str
    """SPDX identifier, or the publishers' own word for it; `unknown` where they give none."""
    gated: bool = False
    """The hub asks for a login and an accepted form."""
    commercial: Allowed = "unknown"
    """Whether the licence allows commercial use."""
    derivatives: Allowed = "unknown"
    """Whether the licence allows changed models to be passed on."""
    notice: str = ""
    """What a user must be told before use."""
    page: str = ""
    """Where its publishers describe it."""
    paper: str = ""
    trained_on: str = ""
    """Data, as its publishers name it."""
    scores: tuple[Score, ...] = ()
    unverified: tuple[str, ...] = ()
    """Keys of this card that could not be checked against the publishers' files."""

    @property
    def domain(self) -> str:
        """The field, or `general`."""
        return self.name.partition("/")[0]

    @property
    def short(self) -> str:
        """The name without the domain."""
        return self.name.partition("/")[2]

    @property
    def by_hand(self) -> bool:
        """Whether its one file lies outside a hub, so that people fetch it themselves."""
        return self.kind == "checkpoint" and not self.blocked and not self.source.repo

    @property
    def restricted(self) -> bool:
        """Whether its licence has to be accepted before it is pulled."""
        return "no" in (self.commercial, self.derivatives) or self.gated

    def __post_init__(self) -> None:
        """Check what one key asks of another.

        Raises:
            ValueError: With what does not hold together.
        """
        if not self.blocked and self.kind == "checkpoint" and not self.architecture:
            raise ValueError("a checkpoint needs `architecture`")
        if self.kind == "checkpoint" and self.source.repo and len(self.source.files) != 1:
            raise ValueError("a checkpoint needs `source.files` with its one file")
        if not self.blocked and not self.source.repo and not (self.by_hand and self.page):
            raise ValueError(
                "`source.repo` is missing; say in `blocked` why it cannot be loaded, or in `page` "
                "where a checkpoint is fetched by hand"
            )
        if self.heads and "names" not in self.heads:
            raise ValueError("`heads` needs one called `names`")
        if unknown := set(self.unverified) - {part.name for part in fields(self)}:
            raise ValueError(f"`unverified` names no keys of a card: {', '.join(sorted(unknown))}")

    def to_dict(self) -> dict[str, Any]:
        """Return everything that the card says as plain values."""
        return asdict(self)


def read_card(values: Mapping[str, Any]) -> Card:
    """Return the card that plain values describe.

    Raises:
        DataError: With every wrong key and value.
    """
    problems = Problems()
    card = read_values(Card, values, problems)
    if card is None:
        raise _error([f"{_name(place)}{text}" for place, text in problems.found])
    return card


def read_card_file(path: Path) -> Card:
    """Return the card that a YAML file holds.

    Raises:
        DataError: With every wrong key and value, each with its line.
    """
    try:
        node = yaml12.compose(path.read_text(encoding="utf-8"), quick=True)
        values = yaml12.construct(node) if node is not None else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error
    problems = Problems()
    _refuse_twins(node, (), problems)
    card = read_values(Card, values, problems)
    if card is None or problems.found:
        raise _error([f"{path}:{_line(node, p)}: {_name(p)}{text}" for p, text in problems.found])
    return card


def _error(said: list[str]) -> DataError:
    return DataError(
        "\n  ".join(said), "`domainclip zoo show NAME --json` of another shows the keys"
    )


def _name(place: Place) -> str:
    return f"{'.'.join(map(str, place))}: " if place else ""


def _refuse_twins(node: Any, place: Place, problems: Problems) -> None:
    """Refuse a key that stands twice in one mapping: the first would silently be lost."""
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        for key in sorted({str(key) for key in keys if keys.count(key) > 1}):
            problems.add((*place, key), "this key stands twice")
        parts = [((*place, str(key.value)), value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        parts = [((*place, i), value) for i, value in enumerate(node.value)]
    else:
        return
    if len(place) < DEEPEST:  # an alias may lead round in a circle
        for inner, value in parts:
            _refuse_twins(value, inner, problems)


def _line(node: Any, place: Place) -> int:
    """Return the line of the deepest part of a place in a file that is there."""
    line = 1
    for step in place:
        if isinstance(node, yaml.MappingNode):
            found = [pair for pair in node.value if pair[0].value == step]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line
