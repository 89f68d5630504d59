"""The one LightningModule: every method is what its texts, heads and loss say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from domainclip.data.batches import Batch
from domainclip.model.clip import DomainClip
from domainclip.model.losses import caption_loss, clip_loss, multi_positive_loss
from domainclip.model.truncation import find_cut
from domainclip.recipe.schema import Recipe
from domainclip.texts.views import TextViews

from .guard import StepGuard
from .optimizer import build_optimizer


@dataclass(frozen=True)
class Count:
    """Texts that were used, and how many of them the tokenizer had to cut."""

    texts: int = 0
    cut: int = 0

    def __add__(self, other: Count) -> Count:
        """Return both counts together."""
        return Count(self.texts + other.texts, self.cut + other.cut)


class ContrastiveModule(L.LightningModule):
    """Trains a CLIP on pictures and texts drawn for them.

    Args:
        model: The two towers and their heads.
        views: Draws the texts of a batch.
        recipe: Loss, optimizer, seed; its length is in `steps`.
        steps: Optimizer steps of the whole run, which the schedule spans.
        embed_classes: Returns the class features (classes, dim) that validation compares with, from
            the model as it is; called once a validation.
        classes: Label node of each class, shape (classes,), in the same order.
    """

    def __init__(
        self,
        model: DomainClip,
        views: TextViews,
        recipe: Recipe,
        steps: int,
        *,
        embed_classes: Callable[[DomainClip], Tensor],
        classes: Sequence[int],
    ) -> None:
        super().__init__()
        self.model = model
        self.mean: Tensor
        self.std: Tensor
        self.classes: Tensor
        self.views = views
        self.recipe = recipe
        self.steps = steps
        self.embed_classes = embed_classes
        self.register_buffer(
            "classes", torch.as_tensor(classes, dtype=torch.long), persistent=False
        )
        pre = model.preprocess
        self.register_buffer(
            "mean", 255 * torch.tensor(pre.mean).view(1, 3, 1, 1), persistent=False
        )
        self.register_buffer("std", 255 * torch.tensor(pre.std).view(1, 3, 1, 1), persistent=False)
        self.validated = -1
        """Step of the last validation."""
        self.drawn = Count()
        """Texts drawn in training, a text that several pictures share counted for each."""
        self.guard = StepGuard()
        self.features: Tensor | None = None
        """Pooled features of all training pictures, shape (n, width), where none changes them."""
        self._tokens: dict[str, Tensor] = {}
        self._cut: set[str] = set()
        self._hits: list[Tensor] = []
        self._chances: list[Tensor] = []

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return float pixels for uint8 ones of shape (n, 3, s, s), channels last in memory."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return (pixels.float() - self.mean) / self.std

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of one batch."""
        loss = self.loss(batch)
        self.guard.loss = loss.detach()
        self.log("train_loss", loss.detach(), prog_bar=False)
        return loss

    def loss(self, batch: Batch) -> Tensor:
        """Return the contrastive loss of a batch: names and captions each under their own head."""
        draw = self.views.draw(
            batch.nodes.cpu().numpy(),
            batch.indices.cpu().numpy(),
            (self.recipe.seed, 1, batch.step),
        )
        encoded = self.model.encode_text(self.tokens(draw.texts))
        cut = np.array([text in self._cut for text in draw.texts])
        self.drawn += Count(len(draw.rows), int(cut[draw.rows].sum()))
        said = torch.from_numpy(draw.rows).to(encoded.device)
        pictures = torch.from_numpy(draw.pictures).to(encoded.device)
        if self.features is None:
            pooled = self.model.pool(self.normalise(batch.pixels))
        else:
            pooled = self.features[batch.indices.to(self.features.device)].to(encoded.device)
        total = 0.0 * pooled.float().sum()  # a gradient even where neither head has two pictures
        for head, chosen in (("names", ~draw.is_caption), ("captions", draw.is_caption)):
            rows = torch.from_numpy(np.flatnonzero(chosen)).to(pooled.device)
            if len(rows) > 1:
                of = pictures[rows]
                images = self.model.project(pooled[of], head)
                part = self._contrast(head, images, encoded, said[rows], batch.nodes[of])
                total = total + part * (len(rows) / len(said))
        return total

    def _contrast(
        self, head: str, images: Tensor, encoded: Tensor, said: Tensor, labels: Tensor
    ) -> Tensor:
        scale, texts = self.model.scale(head), encoded[said]
        if self.recipe.loss.targets == "own":
            return clip_loss(images, texts, scale)
        if head == "captions":
            return caption_loss(images, texts, scale, labels, said)
        return multi_positive_loss(images, texts, scale, labels)

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Return token ids of shape (n, context_length); each text is tokenised once a run."""
        new = [t for t in texts if t not in self._tokens]
        if new:
            tokens = self.model.tokenize(new)
            self._tokens.update(zip(new, tokens, strict=True))
            self._cut.update(compress(new, find_cut(self.model, new, tokens)))
        return torch.stack([self._tokens[t] for t in texts]).to(self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the count of drawn texts, so that a run that is taken up counts on."""
        checkpoint["drawn"] = (self.drawn.texts, self.drawn.cut)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Count on."""
        self.drawn = Count(*checkpoint.get("drawn", ()))

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Hold the logit scales in their bounds."""
        self.model.clamp_scales()

    def on_validation_epoch_start(self) -> None:
        """Embed the real class names with the model as it is."""
        self._hits, self._chances = [], []
        self._class_features = self.embed_classes(self.model).to(self.device)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Count zero-shot hits on the real class names."""
        features = self.model.encode_image(self.normalise(batch.pixels))
        logits = self.model.scale() * features @ self._class_features.T
        right = self.classes[None, :] == batch.nodes[:, None]
        known = right.any(dim=1)
        chance = logits.softmax(dim=1).gather(1, right.int().argmax(dim=1, keepdim=True))[:, 0]
        self._hits.append((self.classes[logits.argmax(dim=1)] == batch.nodes)[known].float())
        self._chances.append(chance[known])

    def hits(self) -> Tensor:
        """Return 1.0 for each picture of the last validation that was named right, else 0.0."""
        return torch.cat(self._hits)

    def on_validation_epoch_end(self) -> None:
        """Log zero-shot top-1, and the score that the best checkpoint is kept by.

        The mean probability of the right class breaks ties, which are common on small splits.
        """
        self.validated = self.global_step
        if not sum(len(hits) for hits in self._hits):
            return
        top1 = self.hits().mean()
        self.log("val_top1", top1)
        self.log("val_score", top1 + 1e-3 * torch.cat(self._chances).mean())

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by norm here: Lightning's own clipping refuses a fused optimizer under bfloat16."""
        self.guard.clip(self.model.parameters(), self.recipe.optim.clip_norm)

    def configure_optimizers(self) -> Any:
        """Return fused AdamW with warm-up and cosine decay over the run's steps."""
        optimizer, schedule = build_optimizer(self.model, self.recipe.optim, self.steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]
