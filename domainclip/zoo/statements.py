"""The sentences of a model card, each from what the folder of a model tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .facts import Facts
from .licences import Licence, read_licence
from .scores import score_tables, table

SCHEMATIC = (
    "The pictures that this model was trained and tested on are schematic: code drew them, to show "
    "that everything works. No number here tells how well a model does on photographs."
)
DEFINITIONS = (
    "top-1 and top-5: the right name is the most probable one, or among the five most probable. "
    "Mean per class: the mean over the labels of the share of their pictures that is named right, "
    "so that rare labels count as much as common ones. A coarser rank is scored on the summed "
    "probabilities of the labels below it. recall@k: a right text is among the k nearest to a "
    "picture, or a right picture among the k nearest to a text. In brackets the 95% interval of a "
    "bootstrap over the pictures."
)


def recipe_of(facts: Facts) -> Mapping[str, Any]:
    """Return the whole recipe that a model was trained by; {} where there was none."""
    return dict((facts.card.get("provenance") or {}).get("recipe") or {})


def say_summary(facts: Facts) -> str:
    """Say in a paragraph what the model is and does."""
    field = facts.domain.title.lower() if facts.domain else facts.own.domain or "an unnamed field"
    ranks = facts.card.get("ranks") or [""]
    what = f"A CLIP model for {field}."
    if facts.labels:
        what += (
            f" It was trained to name what a picture shows among {facts.labels:,} labels "
            f"({ranks[-1]}), and rolls names up to every rank of their tree. It"
        )
    else:
        what += " It was trained on captions, and"
    title = str((recipe_of(facts).get("about") or {}).get("title", ""))
    what += " finds pictures by text, and embeds pictures and texts into one space."
    return what + (f"\n\nIts recipe: {title}." if title else "")


def say_notices(facts: Facts) -> str:
    """Say what must be read before use."""
    said = [step.notice for step in facts.steps] + [SCHEMATIC] * facts.own.schematic
    return "\n>\n".join(f"> **{text}**" for text in dict.fromkeys(said) if text)


def say_details(facts: Facts, author: str) -> str:
    """Say what kind of model it is, of whom, from when."""
    towers, own = facts.config.get("model_cfg") or {}, facts.own
    image, text = towers.get("vision_cfg") or {}, towers.get("text_cfg") or {}
    tower = image.get("timm_model_name") or f"ViT, {image.get('layers', '?')} layers"
    words = text.get("hf_model_name") or f"Transformer, {text.get('layers', '?')} layers"
    size = (facts.config.get("preprocess_cfg") or {}).get("size") or image.get("image_size")
    heads = ", ".join(facts.card.get("heads") or ["names"])
    half = " in half precision" if facts.half else ""
    below = [step.name for step in facts.steps[1:2] if step.kind != "nothing"]
    return _list(
        ("Developed by", author),
        ("Model", f"CLIP, two towers, {facts.parameters / 1e6:.1f} million parameters{half}"),
        ("Image tower", f"{tower}; pictures of {size} x {size} pixels"),
        ("Text tower", f"{words}; {text.get('context_length', 77)} tokens of English text"),
        ("Vectors", f"{towers.get('embed_dim', '?')} numbers; heads: {heads}"),
        ("Trained from", below[0] if below else "nothing: weights drawn at random"),
        ("Date", own.made[:10]),
        ("Made by", f"domainclip {own.domainclip}" if own.domainclip else ""),
    )


def say_intended(facts: Facts) -> str:
    """Say what the model is for."""
    if facts.own.schematic:
        return (
            "To try domainclip and its commands, to teach, and to test tools that read CLIP models."
        )
    noun = facts.domain.noun if facts.domain else "picture"
    return (
        f"For people who have pictures of the kind that it was trained on ({noun}) and know how to "
        "check an answer: to propose names, to sort and search collections, to embed pictures for "
        "a classifier of their own."
    )


def say_out_of_scope(facts: Facts) -> str:
    """Say what the model is not for."""
    said = [
        "Decisions about people, safety or law that nobody checks.",
        "Pictures of another kind than those it was trained on: it names them all the same.",
    ]
    if facts.labels:
        said.append("Labels that it was not given to choose from: one of those given comes back.")
    if facts.own.schematic:
        said.append("Photographs of any kind: it has seen none.")
    return "\n".join(f"- {line}" for line in said)


def say_usage(facts: Facts, repo: str) -> str:
    """Say how the model is used in domainclip and in open_clip."""
    name = repo.rpartition("/")[2]
    labels = "" if facts.labels else " --cls LABELS"
    prefixes = facts.card.get("prefixes_note")
    return (
        "With domainclip, which uses all that the folder holds (heads, labels, calibration):\n\n"
        f"```bash\nhf download {repo} --local-dir {name}\n"
        f"domainclip predict photos/ --model {name}{labels}\n```\n\n"
        "With open_clip:\n\n"
        "```python\nimport open_clip\n\n"
        f'model, preprocess = open_clip.create_model_from_pretrained("hf-hub:{repo}")\n'
        f'tokenizer = open_clip.get_tokenizer("hf-hub:{repo}")\n```'
        + (f"\n\n{str(prefixes).capitalize()}." if prefixes else "")
    )


def say_source(facts: Facts) -> str:
    """Say in a line what pictures it was trained and tested on."""
    if facts.own.schematic:
        return f"built-in schematic pictures ({facts.own.domain}), drawn by domainclip"
    return " and, replayed, ".join(facts.own.data) or "pictures that the folder does not name"


def say_data(facts: Facts, data_licence: str = "") -> str:
    """Say what it was trained on: source, counts, licences."""
    own = facts.own
    counts = ", ".join(f"{n:,} {split}" for split, n in own.pictures.items())
    said = _list(
        ("Source", say_source(facts)),
        ("Pictures", counts or "their number is not recorded"),
        ("Labels", f"{facts.labels:,}" if facts.labels else "none; captions alone"),
        ("Captions", ", ".join(own.captions) or ("those of the data" if own.data else "")),
        ("Fingerprint", own.fingerprint),
    )
    rows = [
        (word or "none recorded", count, _read(word, data_licence))
        for word, count in own.data_licences.items()
    ]
    if not rows:
        return said + "\n\nThe licences of the pictures are not recorded."
    heading = ("licence of the pictures", "training pictures", "read as")
    told = [(word, f"{count:,}" if count else "", read) for word, count, read in rows]
    return f"{said}\n\n{table(told, heading)}"


def say_training(facts: Facts) -> str:
    """Say how it was trained: what differs from the defaults, for how long, on what."""
    own, metrics = facts.own, facts.metrics
    if not own.recipe:
        return "The folder does not tell how it was trained."
    made = facts.card.get("provenance") or {}
    packages = {k: v for k, v in (made.get("packages") or {}).items() if v}
    seconds = metrics.get("train_seconds")
    said = _list(
        ("Steps", f"{metrics['steps']:,}" if "steps" in metrics else ""),
        ("Time", f"{_duration(seconds)} of training" if seconds is not None else ""),
        ("Device", own.device),
        ("Precision", own.precision),
        ("Seed", str(recipe_of(facts).get("seed", 0))),
        ("Code", f"domainclip {own.domainclip}" + (f", commit {own.commit}" * bool(own.commit))),
        ("Packages", ", ".join(f"{name} {version}" for name, version in packages.items())),
    )
    rows = table([(f"`{k}`", f"`{_short(v)}`") for k, v in own.recipe.items()], ("key", "value"))
    return f"{said}\n\nWhat the recipe says other than domainclip's defaults:\n\n{rows}"


def say_evaluation(facts: Facts) -> str:
    """Say how good it was found to be, on what, how sure one can be."""
    rows = facts.metrics.get("rows") or []
    if not rows:
        return "The folder holds no results. Test it on pictures of your own before you use it."
    seed = recipe_of(facts).get("seed", 0)
    what = (
        f"On held-out pictures of the same source: {say_source(facts)}. `test` holds labels that "
        "were trained on; `test_unseen`, where there is one, labels that were not, told by "
        "descriptions without a name. One run, seed "
        f"{seed}: how much another seed would change is not measured."
    )
    if facts.half:
        what += " The results are those of the full weights, before they were rounded to half."
    return f"{what}\n\n{score_tables(rows)}\n\n{DEFINITIONS}"


def say_limits(facts: Facts) -> str:
    """Say what is known to be weak, and what nobody looked at."""
    said, rows = [], facts.metrics.get("rows") or []
    if facts.own.schematic:
        said.append("Trained on drawings alone.")
    if rows:
        said.append(
            "Tested on pictures of one source. Other cameras, places, seasons, instruments and "
            "groups of people were not looked at one by one, and it may do worse on them."
        )
    if facts.labels:
        unseen = any(row["split"] == "test_unseen" for row in rows)
        others = (
            "How well it does on others, told in words, the rows of `test_unseen` say."
            if unseen
            else "Others were not tested."
        )
        said.append(f"It knows {facts.labels:,} labels by their names. {others}")
    if facts.calibrated:
        said.append("Its probabilities are calibrated (`calibration.json`), for those labels only.")
    else:
        said.append(
            "Its probabilities are not calibrated: a probability of 0.9 need not be right nine "
            "times in ten. `domainclip calibrate` fits them to pictures of your own."
        )
    tested = (facts.metrics.get("texts") or {}).get("tested") or {}
    if tested.get("cut"):
        said.append(
            f"{tested['cut']} of {tested['texts']} texts of the test did not fit and were cut."
        )
    if broken := len(facts.metrics.get("unreadable") or ()):
        said.append(f"{broken} pictures could not be read and were left out.")
    for step in facts.steps[1:]:
        if step.kind in ("zoo", "pretrained"):
            said.append(f"What {step.name} is weak at, it is likely to be weak at as well.")
    if rows and facts.labels:
        said.append("Beyond the mean per class, rare labels were not looked at by themselves.")
    return "\n".join(f"- {line}" for line in said)


def measured_emissions(facts: Facts) -> dict[str, Any]:
    """Return what CodeCarbon measured, as the head of a card says it: grams of CO2 equivalents."""
    row = facts.emissions
    said = {
        "emissions": round(float(row["emissions"]) * 1000, 3),
        "source": "codecarbon",
        "training_type": "fine-tuning" if len(facts.steps) > 2 else "pre-training",
        "geographical_location": row.get("country_name", ""),
        "hardware_used": row.get("gpu_model") or row.get("cpu_model") or facts.own.device,
    }
    return {key: value for key, value in said.items() if value not in ("", None)}


def say_impact(facts: Facts) -> str:
    """Say what training cost the climate, or that nobody measured it."""
    seconds = facts.metrics.get("total_seconds")
    known = f"{facts.own.device or 'a device that is not recorded'}"
    known += f", {_duration(seconds)} in all" if seconds is not None else ""
    if not facts.emissions:
        return (
            f"Energy and emissions were not measured, so none are given. Known is: {known}. "
            "Training of what it was made from is not counted."
        )
    row, grams = facts.emissions, measured_emissions(facts)["emissions"]
    energy = row.get("energy_consumed")
    used = f", {float(energy):.4g} kWh" if energy else ""
    return (
        f"{grams:,} g CO2 equivalents{used}, measured by CodeCarbon during training ({known}). "
        "Training of what it was made from is not counted."
    )


def say_provenance(facts: Facts) -> str:
    """Say where it comes from, step by step."""
    return "\n".join(f"{i}. {step.say()}" for i, step in enumerate(facts.steps, 1))


def say_licence(facts: Facts, licence: Licence) -> str:
    """Say under what the model may be used, and what it was made from."""
    link = f" ([text]({licence.url}))" if licence.url else ""
    said = [f"This model is published under {licence.id}{link}: {licence.explain()}."]
    for step in facts.steps[1:]:
        if step.kind != "nothing":
            said.append(f"It was made from {step.name}, {step.licence or 'licence not known'}.")
    return "\n\n".join(said)


def _read(word: str, data_licence: str) -> str:
    found = read_licence(word or data_licence)
    by = " (said by the publisher)" if data_licence and not word else ""
    return f"{found.id}{by}: {found.explain()}"


def _list(*facts: tuple[str, str]) -> str:
    return "\n".join(f"- **{title}:** {text}" for title, text in facts if text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{n} {unit}" for n, unit in parts if n) or "0 s"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
