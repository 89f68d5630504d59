"""A folder that transformers loads as a CLIPModel, with its processor and tokenizer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import (
    LayerNorm,
    QuickGELU,
    ResidualAttentionBlock,
    TextTransformer,
    VisionTransformer,
)
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
)
from transformers.utils import logging as notes

from domainclip.errors import UsageError

from .stock import HALVES, Stock
from .target import LabelVectors, Target, version_of
from .words import as_transformers, is_clips_own

RESAMPLE = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}


def write(stock: Stock, folder: Path, dtype: str, labels: LabelVectors | None) -> dict[str, Any]:
    """Write model, processor and tokenizer.

    Raises:
        UsageError: If CLIPModel cannot compute what the model does, with the reason.
    """
    if reason := find_obstacle(stock):
        raise UsageError(
            f"no export to transformers: {reason}",
            "its CLIPModel knows the ViT and the text tower of CLIP; --to onnx and --to open_clip "
            "take every model",
        )
    config = CLIPConfig(**_config(stock))
    build: Any = CLIPModel
    model = build(config).eval()
    missing, unknown = model.load_state_dict(rename(stock), strict=False)
    if unknown or any(not name.endswith("position_ids") for name in missing):
        raise UsageError(
            f"no export to transformers: its CLIPModel has other weights: {[*missing, *unknown]}",
            "--to onnx takes every model",
        )
    stock.state(dtype)  # raises where a weight does not fit
    with _no_bars():
        model.to(HALVES.get(dtype, torch.float32)).save_pretrained(folder)
    pre = stock.preprocess
    side = {"height": pre.shortest, "width": pre.shortest}
    images = CLIPImageProcessor(
        size=side if pre.mode == "squash" else {"shortest_edge": pre.shortest},
        crop_size={"height": pre.size, "width": pre.size},
        image_mean=list(pre.mean),
        image_std=list(pre.std),
        resample=RESAMPLE.get(pre.interpolation, Image.Resampling.BICUBIC),
    )
    words: Any = stock.tokenizer
    processor: Any = CLIPProcessor
    processor(images, as_transformers(words, stock.context)).save_pretrained(folder)
    images.save_pretrained(folder)  # where AutoImageProcessor and older versions look for it
    said = f"{stock.prefix} {{}}".strip()
    return {
        "how_to_load": "transformers.pipeline('zero-shot-image-classification', 'FOLDER')",
        "hypothesis_template": said,
        "notes": [
            "the pipeline puts labels into a sentence of its own: give "
            f"hypothesis_template='{said}', or a template that this model was trained with",
            f"texts of more than {stock.context} tokens need "
            "tokenizer_kwargs={'truncation': True}",
        ],
    }  # fmt: skip


class ClipModelTowers:
    """A CLIPModel as its users load it.

    Args:
        folder: The folder.
        context: Tokens per text.
    """

    def __init__(self, folder: Path, context: int) -> None:
        build: Any = CLIPModel
        with _no_bars():
            self.model = build.from_pretrained(folder).eval()
        self.images: Any = AutoImageProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
        self.texts: Any = AutoTokenizer.from_pretrained(folder)
        self.tool, self.context = version_of("transformers"), context
        self.scale = float(self.model.logit_scale.detach().float().exp())

    def prepare(self, image: Image.Image) -> Tensor:
        """Return the image tower's input, shape (3, size, size)."""
        pixels: Tensor = self.images(images=[image], return_tensors="pt")["pixel_values"][0]
        return pixels

    def tokenize(self, texts: list[str]) -> Tensor:
        """Return token ids of shape (n, context)."""
        ids: Tensor = self.texts(
            texts, return_tensors="pt", padding="max_length", truncation=True,
            max_length=self.context,
        )["input_ids"]  # fmt: skip
        return ids

    @torch.inference_mode()
    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return unit vectors of shape (n, dim)."""
        found = self.model.vision_model(pixel_values=pixels.to(self.model.dtype))
        vectors = self.model.visual_projection(found.pooler_output)
        return functional.normalize(vectors.float(), dim=-1)

    @torch.inference_mode()
    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return unit vectors of shape (n, dim)."""
        vectors = self.model.text_projection(self.model.text_model(tokens).pooler_output)
        return functional.normalize(vectors.float(), dim=-1)


def read(folder: Path, stock: Stock) -> ClipModelTowers:
    """Load a folder as its users do."""
    return ClipModelTowers(folder, stock.context)


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Keep the progress bars of transformers, which count files, off the user's terminal."""
    log: Any = notes
    shown = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            log.enable_progress_bar()


def find_obstacle(stock: Stock) -> str:
    """Return why a CLIPModel cannot be what a model is; "" where it can."""
    visual = stock.clip.visual
    if type(stock.clip) not in (CLIP, CustomTextCLIP):
        return f"the model is open_clip's {type(stock.clip).__name__}"
    if not isinstance(visual, VisionTransformer):
        name = stock.config["vision_cfg"].get("timm_model_name")
        kind = f"the {name} of timm" if name else f"a {type(visual).__name__}"
        return f"its image tower is {kind}, no ViT of open_clip"
    text = _text(stock)
    if isinstance(stock.clip, CustomTextCLIP) and not isinstance(text, TextTransformer):
        return f"its text tower is a {type(text).__name__}, not that of CLIP"
    if visual.attn_pool is not None or visual.pool_type != "tok" or visual.final_ln_after_pool:
        return "its image tower does not read the class token, as CLIP does"
    if not isinstance(visual.ln_pre, nn.LayerNorm) or not isinstance(visual.patch_dropout,
                                                                     nn.Identity):  # fmt: skip
        return "its image tower begins in another way than that of CLIP"
    if visual.proj is None:
        return "its image tower ends in no projection"
    if text.attn_mask is None or getattr(text, "cls_emb", None) is not None:
        return "its text tower sees what comes after a word, which that of CLIP does not"
    pool = getattr(text, "pool_type", getattr(stock.clip, "text_pool_type", "argmax"))
    if pool != "argmax" or not isinstance(text.text_projection, nn.Parameter):
        return "its text tower does not end in CLIP's projection of the end token"
    if not stock.reads:
        return f"it has no tokenizer: {getattr(stock.tokenizer, 'reason', '')}"
    if not is_clips_own(stock.tokenizer):
        return "its tokenizer is not that of CLIP"
    for tower in (visual, text):
        if any(_is_strange(block) for block in tower.transformer.resblocks):
            return "its blocks are not those of CLIP"
    return ""


def rename(stock: Stock) -> dict[str, Tensor]:
    """Return the weights under the names of CLIPModel."""
    visual, text = stock.clip.visual, _text(stock)
    state: dict[str, Tensor] = {
        "logit_scale": stock.clip.logit_scale,
        "visual_projection.weight": visual.proj.T,
        "text_projection.weight": text.text_projection.T,
        "vision_model.embeddings.class_embedding": visual.class_embedding,
        "vision_model.embeddings.patch_embedding.weight": visual.conv1.weight,
        "vision_model.embeddings.position_embedding.weight": visual.positional_embedding,
        "text_model.embeddings.token_embedding.weight": text.token_embedding.weight,
        "text_model.embeddings.position_embedding.weight": text.positional_embedding,
    }
    norms = {
        "vision_model.pre_layrnorm": visual.ln_pre,
        "vision_model.post_layernorm": visual.ln_post,
        "text_model.final_layer_norm": text.ln_final,
    }
    for name, norm in norms.items():
        state |= _both(name, norm.weight, norm.bias)
    for tower, blocks in (("vision_model", visual.transformer), ("text_model", text.transformer)):
        for number, block in enumerate(blocks.resblocks):
            state |= _rename_block(f"{tower}.encoder.layers.{number}", block)
    return {name: value.detach().contiguous().clone() for name, value in state.items()}


def _rename_block(name: str, block: ResidualAttentionBlock) -> dict[str, Tensor]:
    attention, mlp = block.attn, block.mlp
    state: dict[str, Tensor] = {}
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    for part, weight, bias in zip("qkv", weights, biases, strict=True):
        state |= _both(f"{name}.self_attn.{part}_proj", weight, bias)
    named = {
        "self_attn.out_proj": attention.out_proj, "layer_norm1": block.ln_1,
        "layer_norm2": block.ln_2, "mlp.fc1": mlp.c_fc, "mlp.fc2": mlp.c_proj,
    }  # fmt: skip
    for part_name, module in named.items():
        state |= _both(f"{name}.{part_name}", module.weight, module.bias)
    return state


def _both(name: str, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    return {f"{name}.weight": weight, f"{name}.bias": bias}


def _text(stock: Stock) -> Any:
    """Return what holds the text tower; open_clip's CLIP class does itself."""
    return getattr(stock.clip, "text", stock.clip)


def _is_strange(block: Any) -> bool:
    return (
        type(block) is not ResidualAttentionBlock
        or type(block.attn) is not nn.MultiheadAttention
        or not isinstance(block.ln_1, (LayerNorm, nn.LayerNorm))
        or not isinstance(block.ls_1, nn.Identity)
        or _activation(block) == ""
    )


def _activation(block: Any) -> str:
    act = block.mlp.gelu
    if isinstance(act, QuickGELU):
        return "quick_gelu"
    if isinstance(act, nn.GELU):
        return "gelu" if act.approximate == "none" else "gelu_pytorch_tanh"
    return ""


def _config(stock: Stock) -> dict[str, Any]:
    visual, text, words = stock.clip.visual, _text(stock), stock.tokenizer
    assert is_clips_own(words)
    dim = int(visual.proj.shape[1])
    vision = _tower(visual.transformer) | {
        "image_size": stock.preprocess.size, "patch_size": int(visual.conv1.kernel_size[0]),
        "projection_dim": dim,
    }  # fmt: skip
    start, end = words.all_special_ids  # type: ignore[attr-defined]
    texts = _tower(text.transformer) | {
        "vocab_size": int(text.token_embedding.num_embeddings), "projection_dim": dim,
        "max_position_embeddings": stock.context, "bos_token_id": start, "eos_token_id": end,
        "pad_token_id": end,
    }  # fmt: skip
    return {
        "vision_config": vision, "text_config": texts, "projection_dim": dim,
        "logit_scale_init_value": float(stock.clip.logit_scale),
    }  # fmt: skip


def _tower(transformer: Any) -> dict[str, Any]:
    first = transformer.resblocks[0]
    return {
        "hidden_size": int(first.attn.embed_dim),
        "intermediate_size": int(first.mlp.c_fc.out_features),
        "num_hidden_layers": len(transformer.resblocks),
        "num_attention_heads": int(first.attn.num_heads),
        "hidden_act": _activation(first),
        "layer_norm_eps": float(first.ln_1.eps),
    }


TARGET = Target(write, read, dtypes=("float32", "float16", "bfloat16"))
