"""Captions by an image-text-to-text model on this machine, batch by batch."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from domainclip.data.images import UnreadableImage
from domainclip.errors import DomainclipError, UsageError
from domainclip.model.device import pick_device

from .pictures import SIDE, fit, replace_picture
from .requests import Prompt, Request, Written
from .sampling import SeededSampling


class TransformersCaptioner:
    """Writes captions with a local model, by its own chat template.

    A caption depends on its own seed only, not on what else is in its batch, but for rounding.
    Weights are read from safetensors; code that comes with a model is never run.

    Args:
        model: Folder of the model, or its name in the Hugging Face cache or on the Hub.
        model_revision: Commit of a model of the Hub.
        device: Where to compute; "auto" takes an accelerator where there is one.
        dtype: Precision of the weights; "auto" is the one they are stored in.
        batch_size: Pictures at once; halved for a batch that does not fit into memory.
        max_tokens: Longest answer.
        temperature: Of the sampling; 0 takes the likeliest token each time.
        top_p: Of the sampling.
        side: Longest side in pixels of the picture that the model is given.

    Raises:
        UsageError: If there is no such model, or it takes no pictures, has no chat template, no
            safetensors or needs code of its own.
    """

    name = "transformers"
    uses_prompt = True

    def __init__(
        self,
        model: str | Path,
        *,
        model_revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 4,
        max_tokens: int = 256,
        temperature: float = 0.7,
        top_p: float = 0.95,
        side: int = SIDE,
    ) -> None:
        if batch_size < 1 or max_tokens < 1 or temperature < 0 or not 0 < top_p <= 1:
            raise UsageError(
                f"batch_size {batch_size}, max_tokens {max_tokens}, temperature {temperature:g}, "
                f"top_p {top_p:g}: out of range",
                "top_p lies above 0 and is at most 1, temperature is not negative",
            )
        self.model = str(model)
        self.device = pick_device(device)
        self.dtype, self.batch_size, self.side = dtype, batch_size, side
        self.max_tokens, self.temperature, self.top_p = max_tokens, temperature, top_p
        self.processor = _load_processor(self.model, model_revision)
        self._network = _load_network(self.model, model_revision, dtype).to(self.device).eval()
        commit = getattr(self._network.config, "_commit_hash", None)
        self.revision = str(commit or _digest(Path(self.model)))

    @property
    def settings(self) -> Mapping[str, Any]:
        """What changes what is written."""
        return {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "side": self.side,
            "dtype": str(self._network.dtype).removeprefix("torch."),
        }

    def write(self, requests: Iterable[Request]) -> Iterator[Written]:
        """Yield a caption, or why there is none, for each request, batch by batch."""
        source = iter(requests)
        while batch := list(islice(source, self.batch_size)):
            ready: list[tuple[Request, Image.Image]] = []
            for request in batch:
                try:
                    ready.append((request, fit(request.picture().convert("RGB"), self.side)))
                except UnreadableImage as error:
                    yield self._failed(request, error.message)
            yield from self._write_batch(ready)

    def _write_batch(self, batch: Sequence[tuple[Request, Image.Image]]) -> Iterator[Written]:
        """Write a batch; where it fails, its halves, so that only what is at fault is lost."""
        if not batch:
            return
        try:
            written = self._generate(batch)
        except UsageError:
            raise
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                yield self._failed(batch[0][0], "the memory of the device does not suffice for it")
                return
            written = None
        except (ValueError, RuntimeError, IndexError) as error:
            if len(batch) == 1:
                said = " ".join(str(error).split())[:300]
                yield self._failed(batch[0][0], f"the model cannot take it: {said}")
                return
            written = None
        if written is None:
            if self.device.startswith("cuda"):
                torch.cuda.empty_cache()
            middle = len(batch) // 2
            yield from self._write_batch(batch[:middle])
            yield from self._write_batch(batch[middle:])
        else:
            yield from written

    @torch.inference_mode()
    def _generate(self, batch: Sequence[tuple[Request, Image.Image]]) -> list[Written]:
        start = time.perf_counter()
        texts = [self._text(request) for request, _ in batch]
        bos = self.processor.tokenizer.bos_token
        inputs = self.processor(
            text=texts,
            images=[[picture] for _, picture in batch],
            padding=True,
            return_tensors="pt",
            add_special_tokens=not (bos and texts[0].startswith(bos)),
        ).to(self.device, dtype=self._network.dtype)
        drawn = SeededSampling(
            [request.seed % 2**63 for request, _ in batch], max(self.temperature, 1e-6), self.top_p
        )
        tokens = self._network.generate(
            **inputs,
            max_new_tokens=self.max_tokens,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            logits_processor=[drawn] if self.temperature > 0 else None,
        )
        if not self._network.config.is_encoder_decoder:
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
        ends = self._network.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        seconds = (time.perf_counter() - start) / len(batch)
        lengths_in = inputs["attention_mask"].sum(-1).tolist()
        rows = zip(batch, tokens.tolist(), lengths_in, strict=True)
        return [
            self._written(request, row, ends, int(length_in), seconds)
            for (request, _), row, length_in in rows
        ]

    def _written(
        self, request: Request, row: list[int], ends: set[int], tokens_in: int, seconds: float
    ) -> Written:
        stop = next((at for at, token in enumerate(row) if token in ends), None)
        kept = row if stop is None else row[:stop]
        text = self.processor.tokenizer.decode(kept, skip_special_tokens=True).strip()
        return Written(
            request.id,
            text=text,
            error="" if text else "the answer is empty",
            model=self.model,
            revision=self.revision,
            tokens_in=tokens_in,
            tokens_out=len(kept) + (stop is not None),
            seconds=seconds,
            details={"finish_reason": "length"} if stop is None else {},
        )

    def _text(self, request: Request) -> str:
        if request.prompt is None:
            raise UsageError(f"{request.id}: a request without a prompt")
        return _render(self.processor, request.prompt, self.model)

    def _failed(self, request: Request, line: str) -> Written:
        return Written(request.id, error=line, model=self.model, revision=self.revision)


def render_prompt(prompt: Prompt, model: str | Path) -> str:
    """Return a prompt as a model reads it, by the model's own chat template.

    Args:
        prompt: The messages; the picture stands as the model's sign for one.
        model: Folder of the model, or its name in the Hugging Face cache or on the Hub.

    Raises:
        UsageError: If there is no such model, or it has no chat template.
    """
    return _render(_load_processor(str(model), None), prompt, str(model))


def _render(processor: Any, prompt: Prompt, model: str) -> str:
    messages = replace_picture(prompt.messages, {"type": "image"})
    for message in messages:  # the one form that the templates of all such models read
        if isinstance(message["content"], str):
            message["content"] = [{"type": "text", "text": message["content"]}]
    try:
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:
        if not type(error).__module__.startswith("jinja2"):
            raise
        raise UsageError(
            f"{model}: its chat template refuses the prompt: {error}",
            "some models take no system message; serve those another way",
        ) from None
    return str(text)


def _load_processor(model: str, revision: str | None) -> Any:
    from transformers import AutoProcessor

    with _explained(model):
        load: Any = AutoProcessor.from_pretrained
        processor = load(model, revision=revision, trust_remote_code=False)
    if getattr(processor, "image_processor", None) is None:
        raise _sightless(model)
    if not getattr(processor, "chat_template", None):
        raise UsageError(f"{model}: it has no chat template", "take a model trained to chat")
    processor.tokenizer.padding_side = "left"  # answers begin where the questions end
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def _load_network(model: str, revision: str | None, dtype: str) -> Any:
    from transformers import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        AutoConfig,
        AutoModelForImageTextToText,
    )

    with _explained(model):
        config = AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False)
        if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            raise _sightless(model)
        return AutoModelForImageTextToText.from_pretrained(
            model, revision=revision, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )


@contextlib.contextmanager
def _explained(model: str) -> Iterator[None]:
    """Turn what loading raises into lines for people."""
    try:
        yield
    except DomainclipError:
        raise
    except (OSError, ValueError, KeyError, ImportError) as error:
        said = " ".join(str(error).split())
        if len(Path(model).parts) > 2 and not Path(model).is_dir():
            raise UsageError(f"{model}: there is no such folder") from None
        if "trust_remote_code" in said:
            raise UsageError(
                f"{model}: it needs code of its own, which is never run here",
                "serve it (vLLM) and caption through its endpoint",
            ) from None
        if "safetensors" in said:
            raise UsageError(
                f"{model}: it has no weights as safetensors", "convert it, or take another revision"
            ) from None
        raise UsageError(
            f"{model}: it cannot be loaded: {said[:300]}",
            "name a folder of an image-text-to-text model, or one of the Hub",
        ) from error


def _sightless(model: str) -> UsageError:
    return UsageError(f"{model}: it takes no pictures", "name an image-text-to-text model")


def _digest(folder: Path) -> str:
    """Return a digest of all that makes up a model folder."""
    whole = hashlib.sha256()
    for path in sorted(
        p for p in folder.iterdir() if p.suffix in {".json", ".jinja", ".safetensors"}
    ):
        with path.open("rb") as file:
            whole.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]
