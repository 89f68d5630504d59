"""What makes towers train faster on a CPU; what is computed stays the same, but for rounding."""

from __future__ import annotations

import ctypes
import math
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

_FEW_PLACES, _VERY_FEW_PLACES = 36, 9
"""Output positions up to which the weight gradient of a convolution is taken by a product, and up
to which everything else of it is, too."""
_MANY_CHANNELS = 128
"""Input channels from which on that pays."""
_SHORT = 64
"""Tokens up to which plain products are faster than fused attention, whose way back is slow in
bfloat16."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""


def speed_up(model: nn.Module) -> None:
    """Prepare a model, in place, for training on the CPU; its weights keep their names."""
    for part in model.modules():
        if type(part) is nn.Conv2d and _suits(part):
            part.__class__ = DeepConv2d
        elif isinstance(part, nn.ReLU):
            part.inplace = False  # in bfloat16, in place takes twice the time, for no less memory
    _keep_freed_memory()


class DeepConv2d(nn.Conv2d):
    """A convolution of many channels over few positions, as the last stages of a ResNet have it.

    The gradient of its weights is the product of the output's gradient with the patches of the
    input laid out in rows, which takes a fraction of the time of oneDNN's own way for such shapes;
    over very few positions the same holds of the convolution itself and of its input's gradient.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of shape (n, out, h, w) for an input (n, in, h, w)."""
        size, stride, around = (_pair(v) for v in (self.kernel_size, self.stride, self.padding))
        places = math.prod(_output_size(input.shape, size, stride, around))
        # Not by whether a gradient is wanted: GradCache's two passes have to be the same.
        if not (self.training and self.weight.requires_grad) or places > _FEW_PLACES:
            return super().forward(input)
        output: Tensor = _Convolution.apply(input, self.weight, stride, around)
        return output if self.bias is None else output + self.bias[:, None, None]


class _Convolution(torch.autograd.Function):
    """A convolution whose weight gradient is one matrix product; over few positions all of it."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, stride: tuple[int, int], around: tuple[int, int]
    ) -> Tensor:
        """Return the convolution, in the number format that autocast asks for."""
        ctx.kept, ctx.came, ctx.shape = weight.dtype, input.dtype, input.shape
        ctx.stride, ctx.around = stride, around
        if torch.is_autocast_enabled("cpu"):
            wanted = torch.get_autocast_dtype("cpu")
            input, weight = input.to(wanted), weight.to(wanted)
        out, _, *size = weight.shape
        high, wide = _output_size(input.shape, size, stride, around)
        ctx.by_products = high * wide <= _VERY_FEW_PLACES
        with torch.autocast("cpu", enabled=False):
            if not ctx.by_products:
                ctx.save_for_backward(input, weight)
                return functional.conv2d(input, weight, None, stride, around)
            patches = _patches(input, size, stride, around)
            ctx.save_for_backward(patches, weight)
            return (patches @ _rows(weight).T).view(-1, high, wide, out).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients of input and weight."""
        (grad,), (seen, weight) = grads, ctx.saved_tensors
        rows = grad.permute(0, 2, 3, 1).reshape(-1, grad.shape[1])
        size = weight.shape[2:]
        with torch.autocast("cpu", enabled=False):
            of_input = of_weight = None
            if ctx.needs_input_grad[0] and ctx.by_products:
                of_patches = (rows @ _rows(weight)).view(
                    len(grad), *grad.shape[2:], *size, weight.shape[1]
                )
                of_input = _overlay(of_patches, ctx.shape, ctx.stride, ctx.around).to(ctx.came)
            elif ctx.needs_input_grad[0]:
                of_input = torch.ops.aten.convolution_backward(
                    grad, seen, weight, None, ctx.stride, ctx.around, (1, 1), False, (0, 0), 1,
                    (True, False, False),
                )[0].to(ctx.came)  # fmt: skip
            if ctx.needs_input_grad[1]:
                if not ctx.by_products:
                    seen = _patches(seen, size, ctx.stride, ctx.around)
                of_weight = (rows.T @ seen).view(len(weight), *size, -1)
                of_weight = of_weight.permute(0, 3, 1, 2).to(ctx.kept)
        return of_input, of_weight, None, None


def _output_size(
    shape: Sequence[int], size: Sequence[int], stride: tuple[int, int], around: tuple[int, int]
) -> tuple[int, int]:
    """Return height and width of the output for an input (n, channels, h, w)."""
    high, wide = (
        (shape[2 + i] + 2 * around[i] - size[i]) // stride[i] + 1 for i in (0, 1)
    )  # fmt: skip
    return high, wide


def _rows(weight: Tensor) -> Tensor:
    """Return a kernel (out, in, h, w) as shape (out, h * w * in), as patches are laid out."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _patches(
    input: Tensor, size: Sequence[int], stride: tuple[int, int], around: tuple[int, int]
) -> Tensor:
    """Return what each output position sees, shape (n * h * w, size * size * channels)."""
    (high, wide), (down, across) = size, stride
    edge = (0, 0, around[1], around[1], around[0], around[0])
    seen = functional.pad(input.permute(0, 2, 3, 1), edge)
    seen = seen.unfold(1, high, down).unfold(2, wide, across)
    return seen.permute(0, 1, 2, 4, 5, 3).reshape(-1, high * wide * input.shape[1])


def _overlay(
    patches: Tensor, shape: Sequence[int], stride: tuple[int, int], around: tuple[int, int]
) -> Tensor:
    """Return the sum of patches (n, h, w, kernel h, kernel w, channels) where they lie in an input.

    Args:
        patches: One for each output position.
        shape: Of the input, (n, channels, h, w), which is returned in float32.
        stride: Of the convolution.
        around: Padding on either side, which is cut off.
    """
    count, channels, high, wide = shape
    (top, left), (down, across) = around, stride
    rows, columns, kernel_high, kernel_wide = patches.shape[1:5]
    whole = patches.new_zeros(count, high + 2 * top, wide + 2 * left, channels, dtype=torch.float32)
    for i in range(kernel_high):
        for j in range(kernel_wide):
            whole[:, i : i + down * rows : down, j : j + across * columns : across] += patches[
                :, :, :, i, j
            ]
    return whole[:, top : top + high, left : left + wide].permute(0, 3, 1, 2)


def _suits(conv: nn.Conv2d) -> bool:
    return (
        conv.in_channels >= _MANY_CHANNELS
        and conv.groups == 1
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


def _pair(value: Any) -> tuple[int, int]:
    high, wide = value
    return int(high), int(wide)


@contextmanager
def short_attention(tower: nn.Module, tokens: Tensor) -> Iterator[None]:
    """Have attention over few tokens taken by plain products, where that is faster.

    Args:
        tower: The text tower that the block runs. Where it computes activations twice nothing is
            changed: the second time lies outside of the block.
        tokens: Token ids that it encodes, shape (n, length).
    """
    half = tokens.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    pays = half and tower.training and tokens.shape[1] <= _SHORT
    if pays and not any(getattr(part, "grad_checkpointing", False) for part in tower.modules()):
        with sdpa_kernel(SDPBackend.MATH):
            yield
    else:
        yield


def _keep_freed_memory() -> None:
    """Have the C library keep what a step frees for the next one, rather than give it back.

    A step asks for the same large blocks each time; fetched anew, each page of them faults and is
    filled with zeros by the system. Does nothing but with glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        library.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
