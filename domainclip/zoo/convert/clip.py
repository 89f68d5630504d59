"""A CLIPModel of transformers as open_clip's CLIP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from domainclip.errors import DataError

from .layers import State, both, rename, rename_blocks

_NAMES = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    **both({
        "text_model.final_layer_norm": "ln_final",
        "vision_model.pre_layrnorm": "visual.ln_pre",  # so spelled
        "vision_model.post_layernorm": "visual.ln_post",
    }),
}  # fmt: skip
_LAST_TOKEN = 2
"""`eos_token_id` of configs that were written before it meant anything: the largest id is taken."""


def map_weights(state: Mapping[str, Tensor]) -> State:
    """Return the weights of a CLIPModel under open_clip's names."""
    found = rename_blocks(
        state, "transformer.resblocks.", "visual.transformer.resblocks.", timm=False
    )
    found = rename(found, _NAMES)
    for old, new in (
        ("text_projection.weight", "text_projection"),
        ("visual_projection.weight", "visual.proj"),
    ):
        if old in found:
            found[new] = found.pop(old).T.contiguous()
    return found


def map_config(config: Any, where: str) -> dict[str, Any]:
    """Return open_clip's `model_cfg` for a CLIPConfig.

    Args:
        config: The config.
        where: Its file, for errors.

    Raises:
        DataError: If open_clip has no such towers.
    """
    text, vision = config.text_config, config.vision_config
    quick, kwargs = read_activation(text.hidden_act, vision.hidden_act, where)
    found: dict[str, Any] = {
        "embed_dim": config.projection_dim,
        "vision_cfg": {
            "image_size": vision.image_size,
            "layers": vision.num_hidden_layers,
            "width": vision.hidden_size,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "patch_size": vision.patch_size,
            "mlp_ratio": ratio(vision),
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
            "mlp_ratio": ratio(text),
        },
    }
    if quick:
        found["quick_gelu"] = True
    for part, own in (("vision_cfg", vision), ("text_cfg", text)):
        if kwargs:
            found[part]["act_kwargs"] = kwargs
        if own.layer_norm_eps != 1e-5:  # PyTorch's own
            found[part]["norm_kwargs"] = {"eps": own.layer_norm_eps}
    if text.eos_token_id not in (_LAST_TOKEN, text.vocab_size - 1):
        found["text_cfg"] |= {"pool_type": "eos", "eos_id": text.eos_token_id}
    return found


def read_activation(text: str, vision: str, where: str) -> tuple[bool, dict[str, Any]]:
    """Return whether towers have QuickGELU, and open_clip's `act_kwargs` where they do not.

    Raises:
        DataError: If open_clip cannot build it.
    """
    known: dict[str, tuple[bool, dict[str, Any]]] = {
        "quick_gelu": (True, {}),
        "gelu": (False, {}),
        "gelu_pytorch_tanh": (False, {"approximate": "tanh"}),
        "gelu_new": (False, {"approximate": "tanh"}),
    }
    if text != vision or text not in known:
        raise DataError(
            f"{where}: hidden_act {text!r} in the text tower and {vision!r} in the image tower; "
            f"open_clip builds both with one of {', '.join(known)}"
        )
    return known[text]


def ratio(config: Any) -> float:
    """Return the `mlp_ratio` from which open_clip computes the width inside a block exactly."""
    width, inner = config.hidden_size, config.intermediate_size
    exact = inner / width
    return float(exact if int(width * exact) == inner else (inner + 0.5) / width)
