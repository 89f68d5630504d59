"""The `transformers` captioner on a tiny model made on the spot."""

import json
import shutil
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_llava import make_text_model, make_tiny_llava

from domainclip.captioning.requests import Prompt, Request
from domainclip.captioning.sampling import SeededSampling
from domainclip.captioning.transformers import TransformersCaptioner, render_prompt
from domainclip.data.images import UnreadableImage
from domainclip.errors import UsageError

PROMPT = Prompt(
    messages=(
        {"role": "system", "content": "You see."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is é?"}]},
    ),
    digest="d",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def captioner(folder):
    return TransformersCaptioner(folder, device="cpu", batch_size=3, max_tokens=10)


def picture(number: int) -> Image.Image:
    return Image.linear_gradient("L").rotate(90 * number).resize((50 + 9 * number, 60))


def request(number: int, *, seed=None, text="What?", read=None) -> Request:
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
    return Request(
        f"s{number}", 0, ("a",), read or (lambda: picture(number)),
        seed=number if seed is None else seed, prompt=Prompt((user,), text),
    )  # fmt: skip


def texts(captioner, requests) -> dict[str, str]:
    return {w.id: w.text or w.error for w in captioner.write(requests)}


def test_a_caption_for_each_picture(captioner):
    written = list(captioner.write(request(i) for i in range(5)))
    assert [w.id for w in written] == [f"s{i}" for i in range(5)]
    assert all(w.text and not w.error for w in written)
    assert all(0 < w.tokens_out <= 10 and w.tokens_in > 17 for w in written)  # 17 of the picture
    assert all((w.details == {"finish_reason": "length"}) == (w.tokens_out == 10) for w in written)
    assert all(w.revision == captioner.revision and w.seconds > 0 for w in written)


def test_a_caption_depends_on_its_seed_and_not_on_its_neighbours(captioner):
    # prompts of unlike length, so that rows are padded
    requests = [request(i, text="What? " * (1 + 3 * i)) for i in range(5)]
    whole = texts(captioner, requests)
    alone = {}
    for one in requests:
        alone |= texts(captioner, [one])
    assert whole == alone
    assert texts(captioner, requests[::-1]) == whole
    assert texts(captioner, [request(1, seed=77)])["s1"] != whole["s1"]


def test_a_caption_depends_on_the_picture(captioner):
    same = [request(i, seed=5, read=lambda i=i: picture(i)) for i in range(4)]
    assert len(set(texts(captioner, same).values())) > 1


def test_no_temperature_takes_the_likeliest(folder):
    greedy = TransformersCaptioner(folder, device="cpu", max_tokens=6, temperature=0)
    assert texts(greedy, [request(1, seed=1)]) == texts(greedy, [request(1, seed=2)])


def test_an_unreadable_picture_leaves_the_rest_of_its_batch(captioner):
    def broken():
        raise UnreadableImage("x.jpg", "the file is truncated")

    written = texts(captioner, [request(0), request(1, read=broken), request(2)])
    assert written["s1"] == "x.jpg: the file is truncated"
    assert written["s0"] == texts(captioner, [request(0)])["s0"]


def test_a_prompt_that_breaks_the_model_leaves_the_rest_of_its_batch(captioner):
    # a second sign for a picture, as an excerpt may hold one
    written = {
        w.id: w for w in captioner.write([request(0), request(1, text="<image>"), request(2)])
    }
    assert written["s1"].error.startswith("the model cannot take it") and not written["s1"].text
    assert written["s0"].text and written["s2"].text


def test_what_does_not_fit_into_memory_is_halved(captioner, monkeypatch):
    sizes = []
    generate = captioner._generate

    def tight(batch):
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("no")
        return generate(batch)

    monkeypatch.setattr(captioner, "_generate", tight)
    assert len(texts(captioner, [request(i) for i in range(3)])) == 3
    assert sizes == [3, 1, 2, 1, 1]


def test_the_prompt_is_rendered_by_the_models_own_template(folder, captioner):
    shown = render_prompt(PROMPT, folder)
    assert shown == "<|system|>You see.<|user|><image>What is é?<|assistant|>"
    one = Request("s", 0, ("a",), lambda: picture(0), seed=0, prompt=PROMPT)
    assert captioner._text(one) == shown, "what is shown is what the model reads"


def test_the_revision_is_a_digest_of_the_folder(folder, captioner, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert TransformersCaptioner(copy, device="cpu").revision == captioner.revision
    settings_file = copy / "preprocessor_config.json"
    if not settings_file.is_file():
        settings_file = copy / "processor_config.json"
    settings_file.write_text(settings_file.read_text() + " ")
    assert TransformersCaptioner(copy, device="cpu").revision != captioner.revision
    assert json.dumps(captioner.settings) and captioner.settings["dtype"] == "float32"


def test_models_that_cannot_be_used_are_refused(folder, tmp_path):
    with pytest.raises(UsageError, match="takes no pictures"):
        TransformersCaptioner(make_text_model(tmp_path / "text"))
    with pytest.raises(UsageError, match="there is no such folder"):
        TransformersCaptioner(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="cannot be loaded"):
        TransformersCaptioner(tmp_path / "empty")
    mute = shutil.copytree(folder, tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(UsageError, match="no chat template"):
        TransformersCaptioner(mute)
    with pytest.raises(UsageError, match="out of range"):
        TransformersCaptioner(folder, top_p=0)


def test_pickled_weights_are_never_read(folder, tmp_path):
    pickled = shutil.copytree(folder, tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(1)}, pickled / "pytorch_model.bin")
    with pytest.raises(UsageError, match="no weights as safetensors"):
        TransformersCaptioner(pickled)


def test_code_of_a_model_is_never_run(folder, tmp_path):
    coded = shutil.copytree(folder, tmp_path / "coded")
    config = json.loads((coded / "config.json").read_text())
    config["model_type"] = "made_up"
    config["auto_map"] = {
        "AutoConfig": "evil.Config",
        "AutoModelForImageTextToText": "evil.Model",
    }
    (coded / "config.json").write_text(json.dumps(config))
    (coded / "evil.py").write_text("import sys\nsys.evil_ran = True\nclass Config: pass\n")
    with pytest.raises(UsageError, match="code of its own"):
        TransformersCaptioner(coded)
    assert not hasattr(sys, "evil_ran")


@settings(max_examples=30, deadline=None)
@given(
    chances=st.lists(st.floats(0.01, 1), min_size=2, max_size=6),
    top_p=st.floats(0.05, 1),
    temperature=st.floats(0.2, 2),
)
def test_draws_follow_temperature_and_top_p(chances, top_p, temperature):
    scores = torch.tensor(chances).log()
    expected = (scores / temperature).softmax(-1)
    order = expected.argsort(descending=True, stable=True)
    kept, mass = set(), 0.0
    for token in order.tolist():
        if mass >= top_p - 1e-6 and kept:
            break
        kept.add(token)
        mass += float(expected[token])
    rows = 400
    draw = SeededSampling(range(rows), temperature, top_p)
    out = draw(torch.zeros(rows, 1), scores.repeat(rows, 1))
    assert (out.isfinite().sum(-1) == 1).all(), "one token is left to choose"
    counts = torch.bincount(out.argmax(-1), minlength=len(chances)) / rows
    assert set(counts.nonzero().flatten().tolist()) <= kept
    for token in kept:
        assert abs(float(counts[token]) - float(expected[token]) / mass) < 0.15
