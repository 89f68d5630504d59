"""From a recipe to what is trained: the model, its texts, and the number of steps."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from domainclip.data.datamodule import PictureData
from domainclip.domains.contract import Domain, PromptSet
from domainclip.domains.registry import get_domain
from domainclip.errors import UsageError, suggest
from domainclip.inference.prompts import embed_labels, label_texts
from domainclip.knowledge.nouns import find_noun
from domainclip.knowledge.traits import sheet_claims
from domainclip.model.clip import PREFIXES, DomainClip
from domainclip.model.folder import create_model
from domainclip.recipe.schema import Loss, Recipe
from domainclip.texts.labels import NAME_VIEWS
from domainclip.texts.views import TextViews
from domainclip.zoo.resolving import find_model

from .fit import train_loader
from .module import ContrastiveModule
from .pairs import goes_by_pairs
from .probe import TIMED, WARM, count_steps
from .resolve import DEFAULT_MINUTES

INIT_SCALE = {"clip": 1 / 0.07, "siglip": 10.0}
INIT_BIAS = -10.0
"""Where a model starts: CLIP (arXiv:2103.00020, 2.5), SigLIP (arXiv:2303.15343, table 4)."""


def build_model(recipe: Recipe) -> tuple[DomainClip, bool]:
    """Return the model that a recipe names, and whether its weights are pretrained."""
    model, pretrained = create_model(
        find_model(recipe.model.name, recipe.domain),
        heads=recipe.model.heads,
        context_length=recipe.model.context_length,
        image_size=recipe.model.image_size,
        prefixes=PREFIXES if recipe.text.prefix else None,
    )
    scale, bias = find_start(recipe.loss, pretrained, biased=len(model.biases) > 0)
    model.start_logits(scale, bias)
    return model, pretrained


def find_start(loss: Loss, pretrained: bool, *, biased: bool) -> tuple[float | None, float | None]:
    """Return the logit scale and bias to start from; None for those that the model has.

    What the recipe says goes first. A pretrained model keeps its own, but where the sigmoid loss
    has to give it a bias the scale begins anew as well: beside a scale of 100 no bias as small as
    -10 would leave any pair of the batch apart.

    Args:
        loss: What the recipe says.
        pretrained: Whether the weights are pretrained.
        biased: Whether the model has a logit bias.
    """
    sigmoid = loss.kind == "siglip"
    anew = not pretrained or (sigmoid and not biased)
    scale = loss.init_scale or (INIT_SCALE[loss.kind] if anew else None)
    bias = INIT_BIAS if sigmoid and anew else None
    return scale, bias if loss.init_bias is None else loss.init_bias


def say_start(loss: Loss, model: DomainClip, pretrained: bool) -> list[str]:
    """Say where the logits of a pretrained model start under the sigmoid loss."""
    if not pretrained or loss.kind != "siglip":
        return []
    scale, bias = model.scale().item(), model.bias().item()
    return [
        f"the sigmoid loss starts at scale {scale:.4g} and bias {bias:.4g} "
        "(loss.init_scale, loss.init_bias)"
    ]


def build_module(
    recipe: Recipe, model: DomainClip, data: PictureData, prompts: PromptSet
) -> ContrastiveModule:
    """Return the module that trains a model by a recipe; its length is `train.steps`."""
    text, domain = recipe.text, get_domain(recipe.domain)
    classes = np.unique(data.splits["train"].nodes).tolist()
    views = TextViews(
        data.tree,
        prompts,
        {view: getattr(text, view) for view in NAME_VIEWS},
        data.captions.get("train", ()),
        stored=data.stored.get("train", ()),
        replay=data.replay.captions if data.replay else (),
        caption_share=text.captions if data.labelled else 1.0,
        original_share=text.originals,
        part_share=text.parts,
        template_share=text.templates,
        both=text.both and data.labelled,
        draw=text.draw,
        caption_draws=text.caption_draws,
        nameless=text.nameless if data.labelled else 0.0,
        nouns={n: find_noun(domain, data.tree, n) for n in classes if text.nameless},
        negatives=text.negatives,
        words=domain.knowledge.words() if domain.knowledge else None,
        traits={n: sheet_claims(domain, data.tree, n) for n in classes if text.negatives},
    )
    said = [label_texts(data.tree, node, prompts) for node in classes]
    pairs = data.reference_captions("val") if goes_by_pairs(recipe, data) else ()

    def embed_classes(model: DomainClip) -> Tensor:
        return embed_labels(model, said, prompts.pooling)

    return ContrastiveModule(
        model, views, recipe, recipe.train.steps or 1,
        embed_classes=embed_classes, classes=classes,
        weights=data.drawn.weights, pairs=pairs,
    )  # fmt: skip


def find_steps(
    recipe: Recipe, module: ContrastiveModule, data: PictureData, device: str, precision: str
) -> Recipe:
    """Return the recipe with `train.minutes` turned into steps."""
    steps = count_steps(
        module,
        train_loader(data, WARM + TIMED, 0),
        data.loader("val"),
        minutes=float(recipe.train.minutes or DEFAULT_MINUTES),
        validations=recipe.train.validations,
        device=device,
        precision=precision,
    )
    length = recipe.train.model_copy(update={"steps": steps, "minutes": None})
    return recipe.model_copy(update={"train": length})


def find_prompts(domain: Domain, name: str) -> PromptSet:
    """Return a prompt set of a domain.

    Raises:
        UsageError: If the domain has none of that name.
    """
    if name not in domain.prompts:
        raise UsageError(
            f"the domain {domain.name!r} has no prompt set {name!r}; "
            f"it has {', '.join(domain.prompts)}",
            suggest(name, domain.prompts),
        )
    return domain.prompts[name]
