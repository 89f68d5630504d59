"""Features of pictures and of texts under a model's caption head, whose products are scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from domainclip.data.batches import cut_centre
from domainclip.data.images import square

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
    squares = [cut_centre(square(p, pre.shortest), pre.size) for p in pictures]
    pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (pre.mean, pre.std))
    with torch.inference_mode():
        device = next(iter(model.parameters())).device
        return model.encode_image(((pixels - mean) / std).to(device), head=HEAD).float().cpu()


def text_features(model: DomainClip, texts: Sequence[str]) -> Tensor:
    """Return unit vectors of texts on the CPU, shape (n, dim)."""
    import torch

    with torch.inference_mode():
        device = next(iter(model.parameters())).device
        return model.encode_text(model.tokenize(texts).to(device)).float().cpu()


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
