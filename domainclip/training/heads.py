"""Which heads a run trains, given what its data has to say to them."""

from __future__ import annotations

from domainclip.data.datamodule import PictureData
from domainclip.model.clip import DomainClip
from domainclip.recipe.schema import Text
from domainclip.texts.demands import has_captions


def settle_heads(
    model: DomainClip, text: Text, data: PictureData, *, twin: bool, pretrained: bool
) -> list[str]:
    """Leave out a head that nothing would be said to, and say what becomes of the others.

    Args:
        model: A head that still is a copy of the other is taken out where nothing is said to one
            of the two; one with weights of its own stays as it is.
        text: What the recipe says of texts.
        data: The pictures, for their labels and captions.
        twin: Whether the head for captions is a copy of that for names.
        pretrained: Whether the weights are pretrained.
    """
    told = has_captions(data.captions["train"], *data.stored.get("train", ()))
    said_to = {"names": data.labelled, "captions": bool(text.captions and told)}
    if "captions" not in model.heads:
        return []
    if all(said_to.values()):
        copied = "the model has no head for captions of its own: it starts as a copy of that for "
        return [f"{copied}names"] if twin and pretrained else []
    if twin:
        model.drop_captions()
        return []
    if not data.labelled:
        return ["no label tells the pictures apart: the head for names is not trained"]
    if not told:
        return []
    return [
        "text.captions is 0: the head for captions stays as it is, while the image tower learns; "
        "--text.captions 0.5 trains it too"
    ]
