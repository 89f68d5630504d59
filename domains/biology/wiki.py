"""Where a taxon's page is read, and how its place in the tree is told from its taxobox."""

from __future__ import annotations

from domainclip.domains.contract import WikiRules

WIKI = WikiRules(
    sections=(
        "description",
        "appearance",
        "morphology",
        "identification",
        "characteristics",
        "field marks",
        "plumage",
        "anatomy",
    ),
    boxes={
        "kingdom": ("regnum",),
        "phylum": ("division", "divisio"),
        "class": ("classis",),
        "order": ("ordo",),
        "family": ("familia",),
        "genus": (),
        "species": ("binomial name", "scientific name"),
    },
    endings={
        "phylum": ("ophyta", "ophytes", "phyta", "mycota"),
        "class": ("opsida", "mycetes", "phyceae", "atae"),
        "order": ("iformes", "ales", "oidea"),
        "family": ("idae", "aceae", "inae"),
        "species": ("us", "a", "um", "is", "e", "i", "ii", "on"),
    },
)
