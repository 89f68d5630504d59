"""Where a label's page is read, and what vouches for it."""

from __future__ import annotations

from domainclip.domains.contract import WikiRules

WIKI = WikiRules(
    sections=("description", "appearance", "identification", "characteristics", "morphology"),
    context=("species", "genus", "family"),
)
