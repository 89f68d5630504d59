"""Where the page of a land cover or scene is read, and what vouches for it."""

from __future__ import annotations

from domainclip.domains.contract import WikiRules

WIKI = WikiRules(
    sections=("appearance", "description", "characteristics", "layout", "features", "design"),
    context=(
        "land use",
        "land",
        "agriculture",
        "infrastructure",
        "body of water",
        "landform",
        "vegetation",
        "ecosystem",
        "biome",
        "transport",
        "facility",
        "venue",
        "plantation",
        "settlement",
        "airport",
        "railway",
        "tracks",
        "ground",
        "water",
        "coast",
        "trees",
        "mine",
        "irrigation",
        "field",
    ),
)
