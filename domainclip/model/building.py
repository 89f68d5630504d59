"""open_clip's towers built to be filled: nothing is drawn at random, no text tower is fetched.

Drawing and copying the weights of a ViT-B/16 takes longer than reading its file; here each weight
is read from the file to where it stays.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .safetensor_file import Place, read_places

WEIGHTS = "open_clip_model.safetensors"
TEXT_TOWER = "text_tower"
"""Folder, in a model folder, of the config.json of a text tower that transformers builds."""

_CHUNK = 16 << 20
_DRAWS = frozenset(
    {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_, torch.Tensor.bernoulli_}
)


class Undrawn(TorchFunctionMode):
    """While it is entered, parameters are left as memory gives them, and nothing is drawn.

    Whoever enters it fills every parameter afterwards. What is computed for buffers goes on as
    ever: those that no file holds, such as a causal mask, are right.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, or return its first argument as it is."""
        kwargs = kwargs or {}
        if func is torch.randn:
            kwargs.pop("generator", None)
            return torch.empty(*args, **kwargs)
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func in _DRAWS or (args and isinstance(args[0], nn.Parameter) and _in_place(func)):
            return args[0]
        return func(*args, **kwargs)


def local_text(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords for `open_clip.create_model` that have a text tower built from the folder.

    open_clip asks the hub for the config of a tower of transformers; a folder that carries it needs
    no hub, wherever it lies.

    Args:
        folder: The model folder.
        config: Its `model_cfg`.
    """
    text = config.get("text_cfg", {})
    if not text.get("hf_model_name") or not (folder / TEXT_TOWER / "config.json").is_file():
        return {}
    place = str((folder / TEXT_TOWER).resolve())
    return {"text_cfg": {**text, "hf_model_name": place, "hf_model_pretrained": False}}


def load_clip(folder: Path, image_size: int = 0) -> Any:
    """Return open_clip's model of a folder, with its weights.

    Args:
        folder: A model folder.
        image_size: Side of the input in pixels; 0 for the model's own.
    """
    config = open_clip.get_model_config(f"local-dir:{folder}")
    weights = folder / WEIGHTS
    if weights.is_file() and not image_size:
        with reading(weights) as state:
            clip = build_empty(folder, config)
        if fill(clip, state):
            return clip
    # another layout, size or number format: open_clip knows how to fit them
    clip = open_clip.create_model(
        f"local-dir:{folder}",
        force_image_size=image_size or None,
        require_pretrained=True,
        **local_text(folder, config),
    )
    follow_activation(clip, config)
    return clip


def build_empty(folder: Path, config: Mapping[str, Any]) -> Any:
    """Return the model of a folder with weights that still have to be read.

    Args:
        folder: A model folder; its weights are not looked at.
        config: Its `model_cfg`.
    """
    with quiet(), Undrawn():
        clip = open_clip.create_model(
            f"local-dir:{folder}",
            load_weights=False,
            pretrained_text=False,
            **local_text(folder, config),
        )
        follow_size(clip, config)
    follow_activation(clip, config)
    return clip


def follow_activation(clip: Any, config: Mapping[str, Any]) -> None:
    """Give a tower of timm the kind of GELU that its config asks for.

    SigLIP was trained with the approximation by tanh, and timm builds some of its towers without;
    open_clip reads `act_kwargs` for its own towers only.
    """
    vision = config.get("vision_cfg", {})
    kind = (vision.get("act_kwargs") or {}).get("approximate")
    if not vision.get("timm_model_name") or kind is None:
        return
    for module in list(clip.visual.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ in ("GELU", "GELUTanh"):
                setattr(module, name, nn.GELU(approximate=kind))


def follow_size(clip: Any, config: Mapping[str, Any]) -> None:
    """Give a tower of timm the size that its config asks for; open_clip takes that of its name."""
    vision = config.get("vision_cfg", {})
    patches = getattr(getattr(clip.visual, "trunk", None), "patch_embed", None)
    own, size = getattr(patches, "img_size", None), vision.get("image_size")
    if own is not None and isinstance(size, int) and tuple(own) != (size, size):
        clip.visual.set_input_size(size)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[dict[str, Tensor]]:
    """Have threads read a safetensors file while something else is done.

    Yields:
        Its tensors, which are whole once the context is left. Each has memory of its own: a file
        that is mapped into memory must not change, and ours are written anew.
    """
    places = read_places(path)
    state = {name: torch.empty(place.shape, dtype=place.dtype) for name, place in places.items()}
    pieces = [piece for name, place in places.items() for piece in _pieces(state[name], place)]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        under_way = [pool.submit(_read, path, *piece) for piece in pieces]
        try:
            yield state
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        for each in under_way:
            each.result()


def fill(clip: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Make tensors the weights of a model; return False, with nothing done, if they differ."""
    own = clip.state_dict()
    if own.keys() != state.keys() or any(not _alike(own[name], state[name]) for name in own):
        return False
    if len({value.data_ptr() for value in own.values() if value.numel()}) < len(own):
        return False  # parameters that are one would come apart
    clip.load_state_dict(state, assign=True)
    return True


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip's notes about weights off the user's terminal."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _in_place(func: Callable[..., Any]) -> bool:
    name = getattr(func, "__name__", "")
    return name.endswith("_") and not name.endswith("__") and name != "requires_grad_"


def _alike(own: Tensor, other: Tensor) -> bool:
    return own.dtype == other.dtype and own.shape == other.shape and own.device.type == "cpu"


def _pieces(value: Tensor, place: Place) -> list[tuple[memoryview, int]]:
    if not value.numel():
        return []
    flat: Any = value.detach().reshape(-1).view(torch.uint8).numpy()
    room = memoryview(flat)
    starts = range(0, len(room), _CHUNK)
    return [(room[start : start + _CHUNK], place.start + start) for start in starts]


def _read(path: Path, room: memoryview, start: int) -> None:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while room:
            count = file.readinto(room)
            if not count:
                raise OSError(f"{path} ends early")
            room = room[count:]
