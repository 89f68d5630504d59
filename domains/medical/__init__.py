"""Medicine: blood cells as built-in pictures, and careful defaults for any clinical picture."""

from __future__ import annotations

from domainclip.domains.contract import Domain

from .augment import augment
from .builtin import BUILTIN
from .knowledge import KNOWLEDGE
from .labels import RANKS, labels
from .prompts import PROMPTS
from .styles import STYLES, examples

DOMAIN = Domain(
    name="medical",
    title="Medicine",
    summary="Clinical pictures; built in are schematic blood-smear cells of 20 types.",
    ranks=RANKS,
    labels=labels,
    vocabularies={"formal": "clinical name", "common": "plain name"},
    prompts=PROMPTS,
    noun="blood cell",
    augment=augment,
    builtin=BUILTIN,
    knowledge=KNOWLEDGE,
    styles=STYLES,
    examples=examples,
    columns={
        "label": ("finding", "diagnosis", "cell_type", "class_text"),
        "group": ("patient", "patient_id", "subject", "subject_id", "slide", "slide_id", "study"),
        "caption": ("report", "impression", "note"),
    },
    notice="For research only; not for clinical use.",
)
