"""Small random models of each family, saved by the libraries that publish them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor

from domainclip.zoo.card import Card, Head, Source

WORDS = (
    "a", "photo", "picture", "of", "the", "cat", "dog", "forest", "river", "lung", "cell", "leaf",
    "wing", "field", "town", "road", "grey", "red", "green", "small", "large", "old", "with", "and",
    "on", "near",
)  # fmt: skip
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@dataclass
class Family:
    """A published model, and what it computes before it is converted."""

    card: Card
    files: Path
    text_files: Path | None
    images: Callable[[Tensor], Tensor]
    """Pixels -> features as the publishing library gives them."""
    texts: Callable[[list[str]], Tensor]
    """Texts -> features, by the publishers' own tokenizer."""
    size: int
    scale: float


def card(kind: str, **more: Any) -> Card:
    values: dict[str, Any] = {
        "name": "general/small", "title": "Small", "summary": "A small random model.",
        "kind": kind, "licence": "MIT", "source": Source(repo="org/small"),
    }  # fmt: skip
    return Card(**(values | more))


def sentences(count: int = 64, seed: int = 0) -> list[str]:
    """Return random texts of 2 to 9 words."""
    generator = torch.Generator().manual_seed(seed)

    def draw(most: int) -> int:
        return int(torch.randint(most, (1,), generator=generator))

    return [" ".join(WORDS[draw(len(WORDS))] for _ in range(2 + draw(8))) for _ in range(count)]


def pixels(size: int, count: int = 64) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def randomise(model: torch.nn.Module, seed: int = 0) -> Any:
    """Give a model weights under which every part of it matters, biases and norms included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.dtype != torch.float32 or name.startswith("logit"):
                continue
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("running_var"):
                value.copy_(1 + 0.3 * noise.abs())
            elif value.ndim < 2:
                value.add_(0.1 * noise)
            else:
                value.copy_(noise * value[0].numel() ** -0.5)
        model.logit_scale.fill_(2.0)
        if getattr(model, "logit_bias", None) is not None:
            model.logit_bias.fill_(-3.0)
    return model.eval()


def vit(**more: Any) -> dict[str, Any]:
    """Return open_clip's config of a small CLIP."""
    return {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32,
                       "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2,
                     "layers": 2},
        **more,
    }  # fmt: skip


def resnet() -> dict[str, Any]:
    config = vit()
    config["vision_cfg"] = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16}
    return config


def build(folder: Path, config: dict[str, Any]) -> Any:
    """Return open_clip's model of a config, which is left in a folder as hubs have it."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"model_cfg": config, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(told), encoding="utf-8")
    return randomise(
        open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    )


def of_open_clip(folder: Path, config: dict[str, Any], **more: Any) -> Family:
    """Return a hub folder of open_clip with CLIP's own tokenizer."""
    clip = build(folder, config)
    save_file(clip.state_dict(), folder / "open_clip_model.safetensors")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    return Family(
        card("open_clip", **more), folder, None, clip.encode_image,
        lambda texts: clip.encode_text(tokenizer(texts)),
        config["vision_cfg"]["image_size"], clip.logit_scale.exp().item(),
    )  # fmt: skip


def of_transformers(folder: Path, activation: str = "quick_gelu", eps: float = 1e-5) -> Family:
    """Return a CLIPModel with the tokenizer that CLIP was published with."""
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
             "hidden_act": activation, "layer_norm_eps": eps}  # fmt: skip
    model = randomise(transformers.CLIPModel(transformers.CLIPConfig(
        text_config={**sizes, "intermediate_size": 65, "vocab_size": 49408,
                     "bos_token_id": 49406, "eos_token_id": 49407},
        vision_config={**sizes, "intermediate_size": 128, "image_size": 32, "patch_size": 16},
        projection_dim=24,
    )))  # fmt: skip
    model.save_pretrained(folder)
    clips_tokenizer().save_pretrained(folder)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32},
        image_mean=MEAN, image_std=STD,
    ).save_pretrained(folder)  # fmt: skip
    return _of_hugging_face(model, folder, 32)


def of_siglip(folder: Path, size: int = 32, activation: str = "gelu_pytorch_tanh") -> Family:
    """Return a SiglipModel with the image tower that Google published, and a small text tower."""
    import transformers

    model = randomise(transformers.SiglipModel(transformers.SiglipConfig(
        text_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                     "num_attention_heads": 2, "vocab_size": 96, "projection_size": 768,
                     "max_position_embeddings": 16, "hidden_act": activation,
                     "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1},
        vision_config={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                       "num_attention_heads": 12, "image_size": size, "patch_size": 16,
                       "hidden_act": activation},
    )))  # fmt: skip
    model.save_pretrained(folder)
    words_tokenizer(end="</s>", pad="</s>", first=("<pad>", "</s>", "<unk>")).save_pretrained(
        folder
    )
    transformers.SiglipImageProcessor(
        size={"height": size, "width": size}, image_mean=MEAN, image_std=STD, resample=2
    ).save_pretrained(folder)
    return _of_hugging_face(model, folder, size, length=16)


def _of_hugging_face(model: Any, folder: Path, size: int, length: int = 77) -> Family:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def texts(said: list[str]) -> Tensor:
        ids = tokenizer(
            said, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).input_ids
        return features(model.get_text_features(input_ids=ids))

    return Family(
        card("transformers"), folder, None,
        lambda x: features(model.get_image_features(pixel_values=x)), texts,
        size, model.logit_scale.exp().item(),
    )  # fmt: skip


def features(found: Any) -> Tensor:
    """Return features, which some versions of transformers wrap."""
    return found if isinstance(found, Tensor) else found.pooler_output


def of_bert(
    folder: Path, text_folder: Path, pooler: str = "cls_last_hidden_state_pooler"
) -> Family:
    """Return a hub folder whose text tower is a BERT of another repository."""
    import transformers

    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        vocab_size=64, max_position_embeddings=40,
    )  # fmt: skip
    config.save_pretrained(text_folder)
    words_tokenizer(
        "[CLS]", "[SEP]", "[PAD]", ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    ).save_pretrained(text_folder)
    model = vit(text_cfg={
        "hf_model_name": str(text_folder), "hf_tokenizer_name": str(text_folder),
        "hf_proj_type": "mlp", "hf_pooler_type": pooler, "context_length": 24,
    })  # fmt: skip
    clip = build(folder, model)
    path = folder / "open_clip_config.json"
    told = json.loads(path.read_text())
    told["model_cfg"]["text_cfg"] |= {"hf_model_name": "org/bert", "hf_tokenizer_name": "org/bert"}
    path.write_text(json.dumps(told))
    save_file(clip.state_dict(), folder / "open_clip_model.safetensors")
    tokenizer = transformers.AutoTokenizer.from_pretrained(text_folder)

    def texts(said: list[str]) -> Tensor:
        return clip.encode_text(tokenizer(
            said, padding="max_length", truncation=True, max_length=24, return_tensors="pt"
        ).input_ids)  # fmt: skip

    own = card("open_clip", text_source=Source(repo="org/bert"))
    return Family(
        own, folder, text_folder, clip.encode_image, texts, 32, clip.logit_scale.exp().item()
    )


def dual_heads(folder: Path) -> tuple[Family, Any]:
    """Return a checkpoint with a second projection, and its whole state."""
    family = of_open_clip(folder, vit())
    path = folder / "open_clip_model.safetensors"
    from safetensors.torch import load_file

    state = load_file(path)
    state["visual.caption_proj"] = torch.randn(
        state["visual.proj"].shape, generator=torch.Generator().manual_seed(5)
    )
    state["logit_scale_caption"] = torch.tensor(3.0)
    save_file(state, path)
    heads = {
        "names": Head(projection="visual.proj"),
        "captions": Head(projection="visual.caption_proj", scale="logit_scale_caption"),
    }
    family.card = card("open_clip", heads=heads)
    return family, state


def clips_tokenizer() -> Any:
    """Return CLIP's tokenizer as transformers has it, from the table that open_clip carries."""
    from transformers import CLIPTokenizer

    own = open_clip.SimpleTokenizer()
    names = {49406: "<|startoftext|>", 49407: "<|endoftext|>"}
    vocabulary = {names.get(number, token): number for token, number in own.encoder.items()}
    return CLIPTokenizer(vocab=vocabulary, merges=[*own.bpe_ranks])


def words_tokenizer(
    start: str = "", end: str = "", pad: str = "", first: tuple[str, ...] = ()
) -> Any:
    """Return a tokenizer of whole words, of a vocabulary unlike CLIP's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate((*first, *WORDS))}
    unknown = next(token for token in first if "unk" in token.lower())
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [(mark, vocabulary[mark]) for mark in (start, end) if mark]
    template = " ".join((*([start] if start else []), "$A", *([end] if end else [])))
    made.post_processor = processors.TemplateProcessing(single=template, special_tokens=marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token=unknown, pad_token=pad, eos_token=end or None,
        cls_token=start or None, sep_token=end or None,
    )  # fmt: skip
