"""Features of pictures and of texts under a model's caption head, whose products are scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from domainclip.data.batches import as_input

if TYPE_CHECKING:
    from torch import Tensor

    from domainclip.model.clip import DomainClip

HEAD = "captions"


def picture_features(model: DomainClip, pictures: Sequence[Image.Image]) -> Tensor:
    """Return unit vectors of RGB pictures on the CPU, shape (n, dim).

    A picture is seen at the scale at which the model was tested: its shortest side resized, the
    centre cut out.
    """
    import torch

    pre = model.preprocess
    pixels = [as_input(p, pre.shortest, pre.size, pre.mean, pre.std) for p in pictures]
    with torch.inference_mode():
        device = next(iter(model.parameters())).device
        return model.encode_image(torch.stack(pixels).to(device), head=HEAD).float().cpu()


def text_features(model: DomainClip, texts: Sequence[str]) -> Tensor:
    """Return unit vectors of texts on the CPU, shape (n, dim)."""
    import torch

    with torch.inference_mode():
        device = next(iter(model.parameters())).device
        return model.encode_text(model.tokenize(texts, HEAD).to(device)).float().cpu()


def weights_digest(model: DomainClip) -> str:
    """Return a digest of a model's weights, by which scores can be repeated."""
    import hashlib

    import torch

    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        plain = value.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
