"""Biology: living things by their taxonomy; built in are schematic butterflies."""

from __future__ import annotations

from domainclip.domains.contract import Domain

from .augment import augment
from .builtin import BUILTIN
from .knowledge import KNOWLEDGE
from .labels import RANKS, add_epithet, labels
from .prompts import PROMPTS
from .styles import STYLES, examples

DOMAIN = Domain(
    name="biology",
    title="Biology",
    summary="Living things, kingdom to species; built in are schematic butterflies of 50 species.",
    ranks=RANKS,
    labels=labels,
    vocabularies={"formal": "scientific name", "common": "common name"},
    prompts=PROMPTS,
    noun="butterfly",
    augment=augment,
    builtin=BUILTIN,
    knowledge=KNOWLEDGE,
    styles=STYLES,
    examples=examples,
    result_columns=add_epithet,
    columns={
        "id": ("gbifID", "occurrenceID", "catalogNumber", "treeoflife_id"),
        "label": ("taxon", "taxon_name", "species_name"),
        "common": ("vernacularName", "english_name"),
        "captions": ("descriptions",),
        "group": ("organismID", "individualID", "specimen", "specimen_id", "observation_id"),
        "licence": ("dcterms:license", "accessRights"),
        "species": ("scientificName", "acceptedNameUsage", "binomial", "sci_name"),
        "class": ("taxon_class",),
        "order": ("taxon_order",),
        "genus": ("genericName",),
    },
)
