"""Small random models to export, every weight of which matters."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import families
import torch

from domainclip.model.clip import DomainClip
from domainclip.model.folder import create_model

TIMM = {
    "timm_model_name": "resnet10t", "timm_model_pretrained": False, "timm_pool": "avg",
    "timm_proj": "linear", "image_size": 32,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "ViT": families.vit(),
    "ViT, QuickGELU": families.vit(quick_gelu=True),
    "ViT, text apart": families.vit(custom_text=True),
    "ResNet": families.resnet(),
    "timm": families.vit(custom_text=True, vision_cfg=TIMM),
    "timm without projection": families.vit(custom_text=True, vision_cfg={**TIMM, "timm_proj": ""}),
}


def make(folder: Path, name: str = "ViT", **rest: Any) -> DomainClip:
    """Return a model of two heads that differ."""
    families.of_open_clip(folder, copy.deepcopy(CONFIGS[name]))
    return split_heads(create_model(f"local-dir:{folder}", **rest)[0])


def split_heads(model: DomainClip) -> DomainClip:
    """Give the captions head of a model weights and a scale of its own."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in model.heads["captions"].parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * weight.shape[-1] ** -0.5)
        model.log_scales["captions"].fill_(3.0)
    return model.eval()
