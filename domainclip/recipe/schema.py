"""What a recipe may say: every key with its type, its default and its help, in one place.

`--help`, `recipes show`, the JSON schema and validation all come from these classes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class About(Section):
    """What the recipe is, for people."""

    title: str = ""
    """One line on what the recipe does."""
    paper: str = ""
    """Where the method comes from."""
    needs: str = ""
    """What it needs beyond pictures with labels: captions, a pretrained model, memory."""
    expect: str = ""
    """What it gave when measured, and on what."""
    cost: str = ""
    """What it cost when measured: time and memory, against what."""


class Data(Section):
    """Pictures and their labels."""

    source: str = "builtin"
    """`builtin`, or a folder, a CSV, TSV or Parquet file, WebDataset shards, or a Hub id."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Which column plays which part, where the guess is wrong: {label: name_of_column}."""
    captions: tuple[str, ...] = ()
    """Stored captions to join by sample id: `folder`, or `folder@generation` for one of several."""
    limit: Annotated[int, Field(ge=0)] = 0
    """Pictures that each split has at most; 0 for all."""
    val_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the training pictures held out for validation where the data names none."""
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of all pictures held out as test where the data names none."""
    margin: Share = 0.125
    """How much larger than the model's input pictures are packed, so that crops have room."""
    batch_size: Annotated[int, Field(ge=2)] = 128
    """Pictures per step, of all devices together: the effective batch."""
    balance: str = ""
    """Even out how often labels come: `label`, or a rank to even out its groups."""
    balance_at: Count | None = None
    """Pictures from which on a label is thinned out, with `balance`; unset, the median of the
    counts."""
    sisters: Share = 0.0
    """Share of the pictures of a batch that come in groups of sister labels."""
    replay: str = ""
    """General pictures with captions, mixed in against forgetting: a source like `data.source`."""
    replay_share: Share = 0.1
    """Share of a batch that is replayed, where `data.replay` is given."""
    builtin: Literal["standard", "shifted"] = "standard"
    """Light, background and wear of built-in pictures: as usual, or shifted."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that prepare batches; unset, none for packed pictures, else one for each core."""
    max_pixels: Count = 200_000_000
    """A picture of more pixels is refused before it is decoded."""
    cache_gb: Positive = 20.0
    """The packed cache may take this much; past it, pictures are decoded on the fly."""
    streaming: bool = False
    """Read the source as a stream, without packing it (Hub and WebDataset)."""

    @property
    def replayed(self) -> int:
        """Pictures of a batch that are replayed."""
        return round(self.replay_share * self.batch_size) if self.replay else 0


class Model(Section):
    """The two towers and their projection heads."""

    name: str = "small"
    """A built-in config (`small`), an open_clip name, with pretrained weights as NAME/TAG
    (`ViT-B-32/openai`), `hf-hub:`, `local-dir:`, or a run folder."""
    heads: tuple[Literal["names", "captions"], ...] = ("names", "captions")
    """Projection heads on the pooled image feature; without `captions`, names serve both."""
    context_length: Annotated[int, Field(ge=0)] = 0
    """Tokens per text, which really shortens the text tower; 0 for the model's own."""
    image_size: Annotated[int, Field(ge=0)] = 0
    """Side of the image tower's input in pixels; 0 for the model's own."""
    lock: Literal["none", "image", "text"] = "none"
    """A tower that is frozen; its head is trained. With `train.augment` false, the features of a
    frozen image tower are computed once."""
    lora: Annotated[int, Field(ge=0)] = 0
    """Rank of low-rank adapters in the layers of the towers that are not locked, whose norms are
    trained beside them; 0 trains all weights."""
    lora_alpha: Positive | None = None
    """Weight of the adapters times their rank; unset, twice the rank."""
    grad_checkpointing: bool = False
    """Compute activations twice rather than keep them: less memory, about a third more time."""
    patch_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of patches that a ViT leaves out in training."""


class Text(Section):
    """Texts that pictures are paired with: weights of the views, and how they are drawn."""

    formal: Annotated[float, Field(ge=0)] = 1.0
    """The formal name of the label."""
    common: Annotated[float, Field(ge=0)] = 1.0
    """The common name."""
    path: Annotated[float, Field(ge=0)] = 1.0
    """All ranks, coarsest first."""
    formal_common: Annotated[float, Field(ge=0)] = 1.0
    """The formal name with the common name."""
    path_common: Annotated[float, Field(ge=0)] = 1.0
    """All ranks with the common name."""
    captions: Share = 0.5
    """Share of draws that take a caption, where a picture has one."""
    both: bool = False
    """Say pictures by a name always, and by a caption beside it for the share `text.captions`,
    rather than by one of the two."""
    originals: Share = 0.5
    """Share of caption draws from the data's own captions, where a picture has stored ones too."""
    parts: Share = 0.0
    """Share of caption draws that take one sentence or clause rather than the whole."""
    templates: Share = 0.5
    """Share of name draws that are put into one of the prompt set's templates."""
    draw: Literal["sample", "batch"] = "sample"
    """Draw name or caption, and which view, for each picture, or once for a whole batch."""
    caption_draws: Count = 1
    """Different captions or parts drawn for a picture at once, fewer where it has fewer; all are
    right for it."""
    nameless: Share = 0.0
    """Share of caption draws from which the names of the label are taken out."""
    negatives: Annotated[int, Field(ge=0)] = 0
    """Wrong captions beside each caption: one trait, number or negation of it swapped."""
    prefix: bool = False
    """Begin each text with a word that tells names from captions."""
    prompts: str = "default"
    """The domain's prompt set, for training and for zero-shot."""


class Loss(Section):
    """The contrastive objective."""

    kind: Literal["clip", "siglip"] = "clip"
    """`clip`: softmax over the batch; `siglip`: each pair of picture and text by itself."""
    targets: Literal["own", "label", "tree"] = "label"
    """What is right for a picture: its `own` text alone, all names of its `label`, or names of
    related labels too, less with their distance in the `tree`."""
    softness: Positive = 0.5
    """For `tree`: a name d edges away in the tree counts exp(-d / softness)."""
    init_scale: Positive | None = None
    """Initial logit scale, 1/temperature; unset, 14.2857 for `clip` (1/0.07), 10 for `siglip`; that
    of a pretrained model is kept, unless `siglip` has to give it a bias."""
    init_bias: float | None = None
    """Initial logit bias of `siglip`; unset, that of a pretrained model, or -10."""
    gates: bool = False
    """Weigh a pair less where picture and text, or name and caption, agree less than usual; for
    `text.both`, where a picture is paired with a name and with captions."""


class Optim(Section):
    """AdamW with warm-up and cosine decay."""

    lr: Positive | None = None
    """Peak learning rate; unset, 1e-3 from nothing; for a pretrained model 1e-5, 2e-4 with LoRA,
    1e-4 with a locked image tower."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decay of matrices; biases, norms and logit scales are never decayed."""
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.98
    """Decay rate of AdamW's second moment."""
    warmup: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Warm-up as a share of the run; unset, 0.05 from nothing and 0.1 for a pretrained model."""
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """Largest gradient norm; 0 for none."""
    final_lr: Share = 0.01
    """Learning rate at the end, as a share of the peak."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of a layer as a share of that of the layer above it, in both towers; 1 for the
    same everywhere."""


class Train(Section):
    """How long, how precise, how often checked."""

    epochs: Positive | None = None
    """Passes over the training pictures; one of epochs, steps and minutes, else it is 3 minutes."""
    steps: Count | None = None
    """Optimizer steps."""
    minutes: Positive | None = None
    """Time to train, validation counted; turned into steps by a short probe before step 1."""
    validations: Annotated[int, Field(ge=1)] = 10
    """Validations over the run, evenly spaced; the best checkpoint is kept."""
    choose_by: Literal["names", "captions"] = "names"
    """What validation goes by: zero-shot top-1 by the names of labels, or recall@1 among pictures
    and their captions. Without labels it is captions."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after so many validations without a better one; 0 for never."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` takes bfloat16 where a GPU has it, or where the model is faster by it on the CPU."""
    augment: bool = True
    """Use the domain's augmentations."""
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    """Least share of a picture's area that a random crop takes; unset, what suits the domain."""
    micro_batch: Annotated[int, Field(ge=0)] = 0
    """Pictures that a device holds in memory at once, a divisor of its share of the batch; the step
    is that of the whole batch. 0 for the whole batch."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of an average of the weights, which is validated and kept; 0 for none."""
    wise_ft: bool = False
    """At the end, mix the weights with those at the start, as much as validation likes best."""
    compile: bool = False
    """Compile the towers: minutes at the start, which a long run on a GPU can win back."""
    loggers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Beside `metrics.jsonl` and `metrics.csv`; each needs its package."""
    devices: Count = 1
    """Processes of this machine that share a batch, each on a GPU of its own where there are."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """With several processes: whole weights in each (`ddp`), or shards of the towers (`fsdp`)."""

    @model_validator(mode="after")
    def _one_length(self) -> Train:
        given = [k for k in ("epochs", "steps", "minutes") if getattr(self, k) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of epochs, steps and minutes, not {' and '.join(given)}")
        return self


class Evaluate(Section):
    """The final test."""

    batch_size: Count = 256
    """Pictures per forward pass."""
    bootstrap: Annotated[int, Field(ge=0)] = 1000
    """Resamples behind each 95% interval; 0 for none."""


class Recipe(Section):
    """Everything that a training run depends on."""

    about: About = Field(default_factory=About)
    domain: str
    """The field: `domainclip domains list` shows which there are."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seeds the data, the weights, the draws and the bootstrap."""
    out: str = ""
    """Run folder; unset, a new one below `runs/`."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; `auto` takes an accelerator where there is one."""
    data: Data = Field(default_factory=Data)
    model: Model = Field(default_factory=Model)
    text: Text = Field(default_factory=Text)
    loss: Loss = Field(default_factory=Loss)
    optim: Optim = Field(default_factory=Optim)
    train: Train = Field(default_factory=Train)
    evaluate: Evaluate = Field(default_factory=Evaluate)

    @model_validator(mode="after")
    def _no_idle_keys(self) -> Recipe:
        plain = Recipe.model_construct(domain="")
        needs = {
            "data.balance_at": ("data.balance", bool(self.data.balance)),
            "data.replay_share": ("data.replay", bool(self.data.replay)),
            "model.lora_alpha": ("model.lora", bool(self.model.lora)),
            "loss.init_bias": ("loss.kind siglip", self.loss.kind == "siglip"),
            "loss.softness": ("loss.targets tree", self.loss.targets == "tree"),
            "loss.gates": ("text.both", self.text.both),
            "train.crop": ("train.augment", self.train.augment),
        }
        idle = []
        for key, (need, there) in needs.items():
            section, name = key.split(".")
            said, usual = (getattr(getattr(r, section), name) for r in (self, plain))
            if said != usual and not there:
                idle.append(f"{key} does nothing without {need}")
        if idle:
            raise ValueError(", ".join(idle))
        return self

    @model_validator(mode="after")
    def _even_parts(self) -> Recipe:
        wrong = uneven_parts(self.data.batch_size, self.train.micro_batch, self.train.devices)
        if wrong:
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _shards_alone(self) -> Recipe:
        others = {
            "train.ema": self.train.ema,
            "train.compile": self.train.compile,
            "model.lora": self.model.lora,
        }
        for key, asked in others.items():
            if asked and self.train.strategy == "fsdp":
                raise ValueError(
                    f"train.strategy fsdp does not go with {key} yet; leave out one of the two"
                )
        sharded = self.train.strategy == "fsdp" and self.train.devices > 1
        if sharded and self.train.steps is None and self.train.epochs is None:
            raise ValueError(SHARDS_WANT_STEPS)
        return self


SHARDS_WANT_STEPS = (
    "train.strategy fsdp needs train.steps or train.epochs: how many steps fit into a time is "
    "found out by the whole model on each device"
)


def uneven_parts(batch: int, micro: int, processes: int) -> str:
    """Return what is wrong with parts that do not divide a batch, and what does; "" if they do.

    Args:
        batch: Pictures of a step, of all processes together.
        micro: Pictures of a part; 0 for no parts.
        processes: How many share the batch.
    """
    share = batch // processes
    if not micro or micro >= share or share % micro == 0:
        return ""
    divisors = [n for n in range(1, share + 1) if share % n == 0]
    below, above = (max(n for n in divisors if n < micro), min(n for n in divisors if n > micro))
    of = f"data.batch_size {batch}"
    if processes > 1:
        of = f"the {share} pictures that each of {processes} devices has of {of}"
    return f"train.micro_batch {micro} does not divide {of}; {below} and {above} do"
