"""What makes training faster on a CPU computes the same as before."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from domainclip.model.cpu import DeepConv2d, short_attention, speed_up
from domainclip.model.folder import create_model

SHAPES = {
    "square": ((128, 160, 3), {"padding": 1}, (4, 4)),
    "stride": ((128, 96, 3), {"padding": 1, "stride": 2, "bias": True}, (7, 6)),
    "point": ((160, 64, 1), {"stride": 2}, (6, 6)),
    "oblong": ((128, 64, (3, 1)), {"padding": (1, 0), "stride": (1, 2)}, (5, 8)),
    "small": ((128, 160, 3), {"padding": 1, "bias": True}, (2, 2)),
    "small stride": ((128, 96, 3), {"padding": 1, "stride": 2}, (5, 6)),
    "small oblong": ((128, 64, (3, 1)), {"padding": (1, 0), "stride": (1, 2)}, (2, 7)),
}


def _pair(name):
    torch.manual_seed(0)
    sizes, options, shape = SHAPES[name]
    plain = nn.Conv2d(*sizes, **{"bias": False, **options}).to(memory_format=torch.channels_last)
    fast = copy.deepcopy(plain)
    speed_up(fast)
    assert isinstance(fast, DeepConv2d) and not isinstance(plain, DeepConv2d)
    return plain, fast, torch.randn(8, sizes[0], *shape)


def _backward(conv, pixels, half):
    pixels = pixels.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        found = conv(pixels)
    weights = torch.linspace(-1, 1, found.numel()).view(found.shape)
    (found.float() * weights).sum().backward()
    return found, pixels.grad, [p.grad for p in conv.parameters()]


@pytest.mark.parametrize("name", SHAPES)
def test_a_deep_convolution_has_the_gradient_of_a_plain_one(name):
    plain, fast, pixels = _pair(name)
    expected, found = (_backward(conv, pixels, half=False) for conv in (plain, fast))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert plain.state_dict().keys() == fast.state_dict().keys()


@pytest.mark.parametrize("name", ["square", "small stride"])
def test_in_bfloat16_it_is_as_near_to_float32_as_a_plain_one(name):
    plain, fast, pixels = _pair(name)
    exact = _backward(plain, pixels, half=False)
    errors = []
    for conv in (plain, fast):
        conv.zero_grad()
        found, *gradients = _flat(_backward(conv, pixels, half=True))
        assert found.dtype == torch.bfloat16
        assert {grad.dtype for grad in gradients} == {torch.float32}
        pairs = zip((found, *gradients), _flat(exact), strict=True)
        errors.append([float((one - right).norm() / right.norm()) for one, right in pairs])
    for plainly, fastly in zip(*errors, strict=True):
        assert fastly < 1.1 * plainly + 1e-3 < 0.05


@pytest.mark.parametrize("name", ["square", "small stride"])
def test_a_pass_without_a_gradient_computes_the_same(name):
    _, fast, pixels = _pair(name)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            first = fast(pixels)
        assert torch.equal(first, fast(pixels))


def _flat(backward):
    found, pixels, parameters = backward
    return found.detach(), pixels, *parameters


def test_activations_are_not_computed_in_place():
    model, _ = create_model("small")
    assert any(part.inplace for part in model.modules() if isinstance(part, nn.ReLU))
    speed_up(model)
    assert not any(part.inplace for part in model.modules() if isinstance(part, nn.ReLU))


@pytest.mark.parametrize("pixels", [(2, 64, 4, 4), (2, 128, 16, 16)])
def test_other_convolutions_are_left_to_torch(pixels, monkeypatch):
    conv = nn.Conv2d(pixels[1], 32, 3, padding=1)
    speed_up(conv)
    assert isinstance(conv, DeepConv2d) == (pixels[1] >= 128)
    monkeypatch.setattr("domainclip.model.cpu._Convolution", None)  # would fail if it were asked
    assert conv(torch.randn(pixels)).shape == (2, 32, *pixels[2:])


def test_a_sped_up_model_learns_what_the_plain_one_would():
    torch.manual_seed(0)
    plain, _ = create_model("small")
    fast = copy.deepcopy(plain)
    speed_up(fast)
    assert any(isinstance(part, DeepConv2d) for part in fast.modules())
    pixels = torch.randn(16, 3, 64, 64)
    gradients = []
    for model in (plain.train(), fast.train()):
        model.pool(pixels).square().mean().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-3, atol=1e-5)


def test_short_texts_in_bfloat16_are_attended_to_by_products():
    asked, tower = [], nn.Sequential(nn.Identity())
    for length, half, twice in (
        (16, True, False), (16, False, False), (100, True, False), (16, True, True)
    ):  # fmt: skip
        tower[0].grad_checkpointing = twice
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=half),
            short_attention(tower, torch.zeros(2, length, dtype=torch.long)),
        ):
            asked.append(torch.backends.cuda.flash_sdp_enabled())
    assert asked == [False, True, True, True]
    tower.eval()
    with (
        torch.autocast("cpu", torch.bfloat16),
        short_attention(tower, torch.zeros(2, 16, dtype=torch.long)),
    ):
        assert torch.backends.cuda.flash_sdp_enabled()
    with sdpa_kernel(SDPBackend.MATH):  # what this stands on: the switch tells the CPU as well
        assert not torch.backends.cuda.flash_sdp_enabled()
