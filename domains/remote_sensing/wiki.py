"""Where a label's page is read, and what vouches for it."""

from __future__ import annotations

from domainclip.domains.contract import WikiRules

WIKI = WikiRules(
    sections=("appearance", "description", "characteristics", "layout", "features"),
    context=("land", "road", "building", "water"),
)
