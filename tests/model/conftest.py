"""Tiny models in open_clip's own layout, and one step of training them."""

import json

import open_clip
import pytest
import torch

from domainclip.model.clip import DomainClip
from domainclip.model.folder import create_model

VIT = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 48, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3},
}
RESNET = {**VIT, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}}
TEXTS = ["a monarch", "a peacock with four eyespots"]


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Folders of tiny models in open_clip's own layout, by name."""
    folders = {}
    for name, config in {"vit": VIT, "resnet": RESNET}.items():
        folder = folders[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        model = open_clip.CLIP(**json.loads(json.dumps(config)))
        torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
        card = {"model_cfg": config, "preprocess_cfg": {"size": 32}}
        (folder / "open_clip_config.json").write_text(json.dumps(card))
    return folders


@pytest.fixture
def build(stock):
    """Build a model by a name of ours or of `stock`; no weight is as it began, some began at 0."""

    def run(name: str) -> DomainClip:
        model, _ = create_model(str(stock.get(name, name)), image_size=32)
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return model

    return run


def _step(model: DomainClip) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return a loss of a model in train mode, and the gradients of what it trains."""
    torch.manual_seed(3)
    pixels = torch.randn(4, 3, 32, 32)
    images = model.encode_image(pixels) + model.encode_image(pixels, "captions")
    texts = model.encode_text(model.tokenize(TEXTS))
    loss = (model.scale() * images @ texts.T).logsumexp(dim=1).sum() * model.scale("captions")
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def step():
    """Return a loss of a model in train mode, and the gradients of what it trains."""
    return _step
