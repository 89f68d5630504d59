"""Where logit scale and bias start, for models from nothing and for pretrained ones."""

import pytest
import torch
from torch.nn import functional

from domainclip.model.folder import create_model, save_model
from domainclip.model.losses import siglip_loss
from domainclip.recipe.schema import Loss, Recipe
from domainclip.training.build import build_model, find_start, say_start


@pytest.mark.parametrize(
    ("loss", "pretrained", "biased", "start"),
    [
        ({}, False, False, (1 / 0.07, None)),
        ({}, True, False, (None, None)),
        ({}, True, True, (None, None)),
        ({"init_scale": 30.0}, True, False, (30.0, None)),
        ({"kind": "siglip"}, False, False, (10.0, -10.0)),
        ({"kind": "siglip"}, False, True, (10.0, -10.0)),
        ({"kind": "siglip"}, True, False, (10.0, -10.0)),
        ({"kind": "siglip"}, True, True, (None, None)),
        ({"kind": "siglip", "init_bias": -5.0}, True, True, (None, -5.0)),
        ({"kind": "siglip", "init_scale": 20.0, "init_bias": -5.0}, True, False, (20.0, -5.0)),
    ],
)
def test_what_the_recipe_says_then_what_the_model_has(loss, pretrained, biased, start):
    assert find_start(Loss(**loss), pretrained, biased=biased) == start


def test_a_pretrained_model_is_not_thrown_out_by_the_sigmoid_loss():
    # As of CLIP: right pairs meet at a cosine of about 0.3, wrong ones at 0.2.
    torch.manual_seed(0)
    shared, own = torch.randn(1, 512), torch.randn(128, 512)
    images = functional.normalize(shared + 3 * own + torch.randn(128, 512) * 5, dim=1)
    texts = functional.normalize(2 * shared + own, dim=1)
    scale, bias = find_start(Loss(kind="siglip"), True, biased=False)
    begun = siglip_loss(images, texts, torch.tensor(scale), torch.tensor(bias))
    assert 1 < begun < 12  # a pair is wrong at first: the bias says so
    assert siglip_loss(images, texts, torch.tensor(100.0), torch.tensor(bias)) > 100


def test_a_run_folder_starts_where_it_ended(tmp_path):
    begun, _ = create_model("small", image_size=32)
    begun.start_logits(scale=77.0)
    save_model(begun, tmp_path / "clip", tree=None, card={})
    begun.start_logits(scale=33.0, bias=-7.0)
    save_model(begun, tmp_path / "siglip", tree=None, card={})

    def start(folder, **loss):
        recipe = Recipe.model_validate(
            {"domain": "x", "model": {"name": str(tmp_path / folder)}, "loss": loss}
        )
        model, pretrained = build_model(recipe)
        assert pretrained
        biases = {head: round(bias.item(), 4) for head, bias in model.biases.items()}
        said = say_start(recipe.loss, model, pretrained)
        return {round(model.scale(head).item(), 3) for head in model.heads}, biases, said

    assert start("clip") == ({77.0}, {}, [])
    assert start("clip", init_scale=20)[0] == {20.0}
    scales, biases, said = start("clip", kind="siglip")
    assert (scales, biases) == ({10.0}, {"names": -10.0, "captions": -10.0})
    assert "starts at scale 10 and bias -10" in said[0]
    assert start("siglip", kind="siglip")[:2] == ({33.0}, {"names": -7.0, "captions": -7.0})
