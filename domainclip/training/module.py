"""The one LightningModule: every method is what its texts, heads and loss say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domainclip.data.batches import Batch
from domainclip.model.clip import DomainClip
from domainclip.recipe.schema import Recipe
from domainclip.texts.views import TextViews

from .gradcache import ChunkedFeatures, Context
from .guard import StepGuard, running_statistics
from .objective import Objective, Said
from .optimizer import build_optimizer, lay_out_state
from .pairs import Recall, recall_pairs
from .processes import (
    average_gradients,
    count_processes,
    gather,
    my_share,
    process_rank,
    take_from_first,
)
from .sharding import shard_towers
from .tokens import CutTexts, TokenCache

MOST_PAIRS = 2000
"""Validation pictures whose captions are looked for where there are no labels."""


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
        weights: Weight of each picture by its index, shape (n,); None where all count alike.
        pairs: A caption of each validation picture, where validation is to look for captions by
            pictures, and the other way round; "" where it has none.
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
        weights: NDArray[np.float32] | None = None,
        pairs: Sequence[str] = (),
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
        self.pairs = pairs
        self.objective = Objective(recipe.loss, views.tree, weights, labelled=len(classes) > 1)
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
        self.drawn = CutTexts()
        """Texts drawn in training, a text that several pictures share counted for each."""
        self.guard = StepGuard()
        self.features: Tensor | None = None
        """Pooled features of all training pictures, shape (n, width), where none changes them."""
        self._tokens = TokenCache()
        self._chunked: list[ChunkedFeatures] = []
        self._hits: list[Tensor] = []
        self._chances: list[Tensor] = []
        self._pictures: list[Tensor] = []

    @property
    def sharded(self) -> bool:
        """Whether several processes train shards of the towers, not DDP's whole ones."""
        return self.recipe.train.strategy == "fsdp" and count_processes() > 1

    def configure_model(self) -> None:
        """Cut the towers up, where the trainer's strategy asks for it."""
        if self.device_mesh is not None:
            shard_towers(self.model, self.device_mesh["data_parallel"])

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return float pixels for uint8 ones of shape (n, 3, s, s), channels last in memory."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return (pixels.float() - self.mean) / self.std

    def on_train_start(self) -> None:
        """Lay out a loaded state, and average gradients of chunks by us: DDP would do it once."""
        for optimizer in self.trainer.optimizers:
            lay_out_state(optimizer)
        if self.recipe.train.micro_batch and count_processes() > 1 and not self.sharded:
            wrapped: Any = self.trainer.model
            wrapped.require_backward_grad_sync = False

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of one batch."""
        loss = self.loss(batch)
        self.guard.loss = loss.detach()
        self.log("train_loss", loss.detach(), prog_bar=False, sync_dist=count_processes() > 1)
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Send the gradient back, through each chunk where the batch was taken in chunks."""
        super().backward(loss, *args, **kwargs)
        self._finish_backward(self.trainer.precision_plugin.forward_context)

    def backpropagate(self, batch: Batch, context: Context = nullcontext) -> Tensor:
        """Return the loss of a batch, its gradient computed, outside a trainer.

        Args:
            batch: The batch.
            context: Gives what forward passes run under, such as autocast.
        """
        with context():
            loss = self.loss(batch)
        torch.autograd.backward(loss)
        self._finish_backward(context)
        return loss

    def _finish_backward(self, context: Context) -> None:
        chunked, self._chunked = self._chunked, []
        for features in chunked:
            features.backward(context)
        if chunked or self.sharded:
            average_gradients(self.model)

    def loss(self, batch: Batch) -> Tensor:
        """Return the contrastive loss of a batch: names and captions each under their own head.

        With several processes it is this one's part, scaled so that the mean of all is the whole.
        """
        # Dropout of a step depends on the step alone, whether the run was taken up or not.
        seed = np.random.SeedSequence([self.recipe.seed, 2, batch.step, process_rank()])
        torch.manual_seed(int(seed.generate_state(1)[0]))
        said = self.say(batch)
        tokens, micro = my_share(said.tokens), self.recipe.train.micro_batch
        if self.features is not None:
            mine = my_share(batch.indices).to(self.features.device)
            pooled = self.features[mine].to(self.device)
        elif micro:
            pooled = self._in_chunks(self._pool, self.model.clip.visual, batch.pixels)
        else:
            pooled = self._pool(batch.pixels)
        if micro:
            encoded = self._in_chunks(self.model.encode_text, self.model.text_tower, tokens)
        else:
            encoded = self.model.encode_text(tokens)
        loss: Tensor = self.objective(
            self.model, gather(pooled), gather(encoded)[: len(said.tokens)], said, batch
        )
        return loss

    def _in_chunks(
        self, encode: Callable[[Tensor], Tensor], tower: nn.Module, inputs: Tensor
    ) -> Tensor:
        chunks = torch.split(inputs, self.recipe.train.micro_batch)
        self._chunked.append(ChunkedFeatures(encode, [tower], chunks))
        return self._chunked[-1].features

    def _pool(self, pixels: Tensor) -> Tensor:
        return self.model.pool(self.normalise(pixels))

    def say(self, batch: Batch) -> Said:
        """Draw the texts of a whole batch; every process draws the same."""
        draw = self.views.draw(
            batch.nodes.cpu().numpy(),
            batch.indices.cpu().numpy(),
            (self.recipe.seed, 1, batch.step),
        )
        heads = np.where(draw.text_is_caption, "captions", "names").tolist()
        again = np.isin(np.arange(len(draw.texts)), draw.rows)  # a wrong caption hardly comes twice
        texts = list(zip(draw.texts, heads, strict=True))
        tokens, cut = self._tokens.tokenize(self.model, texts, again.tolist())
        self.drawn += CutTexts(len(draw.rows), int(cut[draw.rows].sum()))
        pictures, rows = (
            torch.from_numpy(x).to(self.device, torch.long) for x in (draw.pictures, draw.rows)
        )
        return Said(draw, tokens.to(self.device), pictures, rows)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the count of drawn texts, so that a run that is taken up counts on."""
        checkpoint["drawn"] = (self.drawn.texts, self.drawn.cut)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Count on."""
        self.drawn = CutTexts(*checkpoint.get("drawn", ()))

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Hold the logit scales in their bounds."""
        self.model.clamp_scales()

    def on_validation_epoch_start(self) -> None:
        """Embed the real class names with the model as it is."""
        take_from_first(running_statistics(self))  # each has those of its own pictures
        self._hits, self._chances, self._pictures = [], [], []
        if not self.pairs:
            self._class_features = self.embed_classes(self.model).to(self.device)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Count zero-shot hits on the real class names, or keep what captions are looked for by."""
        if self.pairs:
            pixels = self.normalise(batch.pixels)
            self._pictures.append(self.model.encode_image(pixels, "captions"))
            return
        features = self.model.encode_image(self.normalise(batch.pixels))
        logits = self.model.scale() * features @ self._class_features.T
        right = self.classes[None, :] == batch.nodes[:, None]
        known = right.any(dim=1)
        chance = logits.softmax(dim=1).gather(1, right.int().argmax(dim=1, keepdim=True))[:, 0]
        self._hits.append((self.classes[logits.argmax(dim=1)] == batch.nodes)[known].float())
        self._chances.append(chance[known])

    def hits(self) -> Tensor:
        """Return 1.0 for each picture of the last validation that was named right, else 0.0.

        Without labels: whether it found its caption first, and its caption it, on average.
        """
        return self._recall().hits if self.pairs else torch.cat(self._hits)

    def _recall(self) -> Recall:
        rows = [i for i, caption in enumerate(self.pairs) if caption]
        rows = rows[:: -(-len(rows) // MOST_PAIRS)]
        captions = [self.pairs[row] for row in rows]
        return recall_pairs(self.model, torch.cat(self._pictures)[rows], captions, "captions")

    def on_validation_epoch_end(self) -> None:
        """Log zero-shot top-1 or recall@1, and the score that the best checkpoint is kept by.

        The mean probability of what is right breaks ties, which are common on small splits.
        """
        self.validated = self.global_step
        if self.pairs:
            found = self._recall()
            self.log("val_recall1", found.hits.mean())
            self.log("val_score", found.hits.mean() + 1e-3 * found.chance)
            return
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
        if not self.sharded:  # a checkpoint of shards wants a state of every parameter
            for parameter in self.objective.silent(self.model):
                parameter.grad = None  # a head that nothing was said to is not decayed either
        self.guard.clip(self.model.parameters(), self.recipe.optim.clip_norm)

    def configure_optimizers(self) -> Any:
        """Return fused AdamW with warm-up and cosine decay over the run's steps."""
        optimizer, schedule = build_optimizer(self.model, self.recipe.optim, self.steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]
