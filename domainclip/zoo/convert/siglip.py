"""A SiglipModel of transformers as open_clip's: the image tower is timm's, pooled by attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from domainclip.errors import DataError

from .clip import ratio, read_activation
from .layers import State, both, rename, rename_blocks

_VISION, _TRUNK = "vision_model.", "visual.trunk."
_NAMES = {
    "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
    f"{_VISION}embeddings.position_embedding.weight": f"{_TRUNK}pos_embed",
    f"{_VISION}head.probe": f"{_TRUNK}attn_pool.latent",
    **both({
        "text_model.final_layer_norm": "text.ln_final",
        "text_model.head": "text.text_projection",
        f"{_VISION}embeddings.patch_embedding": f"{_TRUNK}patch_embed.proj",
        f"{_VISION}post_layernorm": f"{_TRUNK}norm",
        f"{_VISION}head.attention.out_proj": f"{_TRUNK}attn_pool.proj",
        f"{_VISION}head.layernorm": f"{_TRUNK}attn_pool.norm",
        f"{_VISION}head.mlp.fc1": f"{_TRUNK}attn_pool.mlp.fc1",
        f"{_VISION}head.mlp.fc2": f"{_TRUNK}attn_pool.mlp.fc2",
    }),
}  # fmt: skip

_TOWERS = {
    (768, 12, 16): "vit_base_patch16_siglip_224",
    (768, 12, 32): "vit_base_patch32_siglip_256",
    (1024, 24, 16): "vit_large_patch16_siglip_256",
    (1152, 27, 14): "vit_so400m_patch14_siglip_224",
    (1152, 27, 16): "vit_so400m_patch16_siglip_256",
    (1536, 40, 16): "vit_giantopt_patch16_siglip_256",
}
"""Width, blocks and patch of the towers that Google published -> timm's name of one size."""


def map_weights(state: Mapping[str, Tensor]) -> State:
    """Return the weights of a SiglipModel under open_clip's names."""
    found = rename_blocks(state, "text.transformer.resblocks.", f"{_TRUNK}blocks.", timm=True)
    found = rename(found, _NAMES)
    if f"{_TRUNK}pos_embed" in found:
        found[f"{_TRUNK}pos_embed"] = found[f"{_TRUNK}pos_embed"][None]
    for kind in ("weight", "bias"):
        joined = found.pop(f"{_VISION}head.attention.in_proj_{kind}", None)
        if joined is not None:  # query, then key and value
            width = len(joined) // 3
            found[f"{_TRUNK}attn_pool.q.{kind}"] = joined[:width]
            found[f"{_TRUNK}attn_pool.kv.{kind}"] = joined[width:]
    return found


def map_config(config: Any, where: str) -> dict[str, Any]:
    """Return open_clip's `model_cfg` for a SiglipConfig.

    Args:
        config: The config.
        where: Its file, for errors.

    Raises:
        DataError: If timm or open_clip have no such towers.
    """
    text, vision = config.text_config, config.vision_config
    _, kwargs = read_activation(text.hidden_act, vision.hidden_act, where)
    if not getattr(vision, "vision_use_head", True):
        raise DataError(f"{where}: its image tower does not pool by attention, as SigLIP's do")
    return {
        "embed_dim": vision.hidden_size,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": vision.image_size,
            "timm_model_name": _find_tower(vision, where),
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
            # open_clip reads this for its own towers only, domainclip for timm's too
            "act_kwargs": {"approximate": kwargs.get("approximate", "none")},
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
            "mlp_ratio": ratio(text),
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": text.layer_norm_eps},
            **({"act_kwargs": kwargs} if kwargs else {}),
        },
    }


def _find_tower(vision: Any, where: str) -> str:
    """Return timm's name of an image tower, of its very size where timm has that."""
    import timm

    told = (vision.hidden_size, vision.num_hidden_layers, vision.patch_size)
    name = _TOWERS.get(told)
    if name is None:
        known = "; ".join(f"{w} wide, {n} blocks, patch {p}" for w, n, p in _TOWERS)
        raise DataError(
            f"{where}: timm has no SigLIP tower {told[0]} wide, of {told[1]} blocks and patch "
            f"{told[2]}; it has {known}"
        )
    same = f"{name.rpartition('_')[0]}_{vision.image_size}"
    return same if timm.is_model(same) else name
