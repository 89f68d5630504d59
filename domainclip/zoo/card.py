"""What is known of a model before it is fetched: a YAML file a model, every word of it checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from domainclip.errors import DataError, suggest
from domainclip.recipe import yaml12

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+/[a-z0-9][a-z0-9._-]*$")]
HubId = Annotated[str, StringConstraints(pattern=r"^$|^[\w.-]+/[\w.-]+$")]
Commit = Annotated[str, StringConstraints(pattern=r"^$|^[0-9a-f]{40}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Allowed = Literal["yes", "no", "unknown"]
Triple = tuple[float, float, float]


class Part(BaseModel):
    """A part of a card: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class Source(Part):
    """Where files come from."""

    repo: HubId = ""
    """Hub id, `organisation/name`; empty where the files are not on a hub."""
    repo_type: Literal["model", "dataset"] = "model"
    """A few publishers keep weights in a dataset repository."""
    revision: Commit = ""
    """The commit; empty where it is not known: the first pull records the one it found."""
    files: tuple[str, ...] = ()
    """Paths in the repository; empty for what the kind of model needs."""
    sha256: dict[str, Digest] = Field(default_factory=dict)
    """File -> checksum, where it is known; the first pull records the rest."""


class Head(Part):
    """A projection of the pooled picture feature, where a checkpoint has more than one."""

    projection: str
    """Key of the matrix of shape (width, dimension)."""
    scale: str = "logit_scale"
    """Key of the logarithm of its logit scale."""


class LabelVectors(Part):
    """Label vectors that the publishers of a model computed: pybioclip's pair of files."""

    source: Source
    """`files` names the vectors (`.npy`, dimension x labels), then the names (`.json`)."""
    labels: Annotated[int, Field(ge=1)]
    """How many labels they are of."""


class Score(Part):
    """A published figure."""

    on: str
    """Data set and, where it has several, the split or task."""
    metric: str
    """What was measured: top-1 accuracy, recall@1."""
    value: float
    source: str
    """Where it was published; figures of one model differ between papers by protocol."""


class Card(Part):
    """A model of the zoo."""

    name: Name
    """`domain/model`."""
    title: str
    summary: str
    """One sentence: trained from what, on what, for what."""
    kind: Literal["open_clip", "checkpoint", "transformers"] = "open_clip"
    """`open_clip`: a hub folder with open_clip_config.json; `checkpoint`: bare weights plus
    `architecture`; `transformers`: a CLIPModel or SiglipModel folder."""
    source: Source
    text_source: Source | None = None
    """The second repository that the text tower or its tokenizer comes from."""
    blocked: str = ""
    """Why domainclip cannot load it; empty for one that it can."""
    architecture: str = ""
    """open_clip's name of the towers."""
    quick_gelu: bool = False
    image_size: Annotated[int, Field(ge=1)] | None = None
    """Side of the input in pixels."""
    context: Annotated[int, Field(ge=1)] | None = None
    """Tokens per text."""
    dimension: Annotated[int, Field(ge=1)] | None = None
    """Length of a vector."""
    mean: Triple = (0.48145466, 0.4578275, 0.40821073)
    """Of the red, green and blue channel; the default is CLIP's."""
    std: Triple = (0.26862954, 0.26130258, 0.27577711)
    drop_keys: tuple[str, ...] = ()
    """Keys of the checkpoint that are left out; `*` stands for anything."""
    rename_keys: dict[str, str] = Field(default_factory=dict)
    """Beginning of a key in the checkpoint -> that of open_clip; the longest wins."""
    heads: dict[str, Head] = Field(default_factory=dict)
    """Names of heads -> where they lie in the checkpoint; empty for the one projection of CLIP."""
    prompts: str = ""
    """Prompt set that the model was published with; empty for the default of its domain."""
    label_vectors: LabelVectors | None = None
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
    def restricted(self) -> bool:
        """Whether its licence has to be accepted before it is pulled."""
        return "no" in (self.commercial, self.derivatives) or self.gated

    @model_validator(mode="after")
    def _hold_together(self) -> Card:
        if not self.blocked and self.kind == "checkpoint" and not self.architecture:
            raise ValueError("a checkpoint needs `architecture`")
        if not self.blocked and not self.source.repo:
            raise ValueError("`source.repo` is missing; say in `blocked` why it cannot be loaded")
        if "names" not in self.heads and self.heads:
            raise ValueError("`heads` needs one called `names`")
        if unknown := set(self.unverified) - set(type(self).model_fields):
            raise ValueError(f"`unverified` names no keys of a card: {', '.join(sorted(unknown))}")
        return self


def read_card_file(path: Path) -> Card:
    """Return the card that a YAML file holds.

    Raises:
        DataError: With every wrong key and value, each with its line.
    """
    try:
        node = yaml12.compose(path.read_text(encoding="utf-8"))
        values = yaml12.construct(node) if node is not None else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise DataError(f"{path}: not a card: keys and values are expected")
    try:
        return Card.model_validate(values)
    except ValidationError as error:
        said = [f"{path}:{_line(node, e['loc'])}: {_say(e)}" for e in error.errors()]
        raise DataError(
            "\n  ".join(said), "`domainclip zoo show NAME` shows what a card says"
        ) from None


def _say(error: Any) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        return f"{key}: {error['msg']}" if key else str(error["msg"])
    near = suggest(str(error["loc"][-1]), Card.model_fields)
    return f"{key}: a card has no such key" + (f"; {near}" if near else "")


def _line(node: Any, loc: tuple[Any, ...]) -> int:
    """Return the line of the deepest part of a place in a file that is there."""
    line = 1
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            found = [pair for pair in node.value if pair[0].value == step]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line
