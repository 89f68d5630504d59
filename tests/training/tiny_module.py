"""A tiny CLIP and a batch, for tests of what a training step computes."""

import numpy as np
import open_clip
import torch

from domainclip.data.batches import Batch
from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.model.clip import DomainClip, Preprocess
from domainclip.recipe.schema import Recipe
from domainclip.texts.views import TextViews
from domainclip.training.module import ContrastiveModule

TEXT = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
TOWERS = {
    "vit": {"image_size": 16, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8,
            "patch_dropout": 0.5},
    "resnet": {"image_size": 16, "timm_model_name": "resnet10t", "timm_model_pretrained": False,
               "timm_pool": "avg", "timm_proj": "linear"},
}  # fmt: skip
N = 12


def build(tower: str, micro: int = 0, strategy: str = "ddp", **loss: object) -> ContrastiveModule:
    torch.manual_seed(0)
    config = {"embed_dim": 16, "vision_cfg": TOWERS[tower], "text_cfg": TEXT}
    open_clip.factory._MODEL_CONFIGS[f"tiny-{tower}"] = config
    clip = open_clip.create_model(f"tiny-{tower}")
    model = DomainClip(
        clip, open_clip.get_tokenizer(f"tiny-{tower}"), Preprocess(16, (0.5,) * 3, (0.25,) * 3),
        config, ("names", "captions"),
    )  # fmt: skip
    if loss.get("kind") == "siglip":
        model.start_logits(bias=-10.0)
    tree = LabelTree.from_columns(
        {"genus": ["a", "a", "b", "b"], "species": ["one", "two", "three", "four"]}
    )
    captions = [(f"caption number {i}", f"said otherwise {i}") for i in range(N)]
    views = TextViews(tree, PromptSet(), {"formal": 1.0, "path": 1.0}, captions)
    recipe = Recipe.model_validate(
        {
            "domain": "x",
            "data": {"batch_size": 60},
            "loss": loss,
            "train": {"micro_batch": micro, "strategy": strategy},
            "text": {"both": True},
        }
    )
    weights = np.linspace(0.5, 1.5, N).astype(np.float32)
    return ContrastiveModule(
        model, views, recipe, 1, embed_classes=lambda m: torch.zeros(1, 16),
        classes=tree.leaves.tolist(), weights=weights,
    ).train()  # fmt: skip


def batch(tree: LabelTree) -> Batch:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (N, 3, 16, 16), generator=generator, dtype=torch.uint8)
    leaves = [tree.find(name)[0] for name in ("one", "two", "three", "four")]
    nodes = torch.tensor(leaves)[torch.arange(N) % 4]
    return Batch(pixels, nodes, torch.arange(N), 3)
