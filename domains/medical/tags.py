"""Says what a record knows of a clinical picture: stain, magnification, site, and the person."""

from __future__ import annotations

from domainclip.domains.contract import TagRule

SEXES = {"m": "male", "male": "male", "f": "female", "female": "female"}

CONTEXT: tuple[tuple[str, str], ...] = (
    ("stain", "stained with {value}"),
    ("staining", "stained with {value}"),
    ("magnification", "magnification {value}"),
    ("objective", "objective {value}"),
    ("modality", "modality {value}"),
    ("view", "{value} view"),
    ("view_position", "{value} view"),
    ("projection", "{value} projection"),
    ("plane", "{value} plane"),
    ("body_part", "body part: {value}"),
    ("bodypart", "body part: {value}"),
    ("body_part_examined", "body part: {value}"),
    ("anatomic_site", "site: {value}"),
    ("anatom_site_general", "site: {value}"),
    ("localization", "site: {value}"),
    ("location", "site: {value}"),
    ("organ", "organ: {value}"),
    ("tissue", "tissue: {value}"),
    ("specimen_type", "specimen: {value}"),
    ("age", "age {value}"),
    ("age_approx", "age about {value}"),
    ("patient_age", "age {value}"),
)
"""Key -> words. None is a trait: a stain shows only by what it colours."""

TAGS: tuple[TagRule, ...] = (
    *(TagRule(key=key, say=say, visible=False) for key, say in CONTEXT),
    *(
        TagRule(key=key, value=value, say=f"{said} patient", visible=False)
        for key in ("sex", "gender", "patient_sex")
        for value, said in SEXES.items()
    ),
)
