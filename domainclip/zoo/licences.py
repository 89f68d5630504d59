"""What licences allow, read from the many ways in which publishers say them.

SPDX identifiers, addresses, a Hub's own words, the codes of GBIF: all end in one table of the
few questions that publishing a model asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from domainclip.errors import UsageError, suggest

Allowed = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Licence:
    """A licence, as far as publishing a model has to know it."""

    id: str
    """SPDX identifier; the publishers' own word where there is none."""
    commercial: Allowed = "yes"
    derivatives: Allowed = "yes"
    """Whether changed works may be passed on."""
    share_alike: bool = False
    """Whether what is made from it has to be passed on under the same terms."""
    passed_on: Allowed = "yes"
    """Whether the work may be passed on at all."""
    hub: str = "other"
    """The Hub's word for it in the head of a card."""
    url: str = ""

    @property
    def known(self) -> bool:
        """Whether all that matters is known of it."""
        return "unknown" not in (self.commercial, self.derivatives, self.passed_on)

    @property
    def family(self) -> str:
        """The identifier without its version: what share-alike terms ask to be the same."""
        return re.sub(r"-\d[\d.]*(-only|-or-later)?$", "", self.id)

    def explain(self) -> str:
        """Say in a few words what it allows and asks."""
        if not self.known:
            return "not known"
        if self.passed_on == "no":
            return "may not be passed on"
        limits = ["no commercial use"] * (self.commercial == "no")
        limits += ["no changed works"] * (self.derivatives == "no")
        limits += ["passed on under the same terms only"] * self.share_alike
        return ", ".join(limits) or "free to use, change and pass on"


_CC = "https://creativecommons.org"
_HAI_DEF = "https://developers.google.com/health-ai-developer-foundations/terms"

# SPDX's list where it has them (spdx.org/licenses). Of the others: HAI-DEF (terms of 15 November
# 2024) and the OpenRAIL family let changed models be passed on if their limits of use go with them.
_TABLE = (
    Licence("MIT", hub="mit"),
    Licence("Apache-2.0", hub="apache-2.0"),
    Licence("BSD-2-Clause", hub="bsd-2-clause"),
    Licence("BSD-3-Clause", hub="bsd-3-clause"),
    Licence("ISC", hub="isc"),
    Licence("Unlicense", hub="unlicense"),
    Licence("CC0-1.0", hub="cc0-1.0", url=f"{_CC}/publicdomain/zero/1.0/"),
    Licence("CC-PDM-1.0", url=f"{_CC}/publicdomain/mark/1.0/"),
    Licence("PDDL-1.0", hub="pddl"),
    Licence("ODC-By-1.0", hub="odc-by"),
    Licence("ODbL-1.0", share_alike=True, hub="odbl"),
    Licence("CDLA-Permissive-1.0", hub="cdla-permissive-1.0"),
    Licence("CDLA-Permissive-2.0", hub="cdla-permissive-2.0"),
    Licence("CDLA-Sharing-1.0", share_alike=True, hub="cdla-sharing-1.0"),
    Licence("OGL-UK-3.0"),
    Licence("etalab-2.0", hub="etalab-2.0"),
    Licence("GPL-2.0", share_alike=True, hub="gpl-2.0"),
    Licence("GPL-3.0", share_alike=True, hub="gpl-3.0"),
    Licence("AGPL-3.0", share_alike=True, hub="agpl-3.0"),
    Licence("OpenRAIL", share_alike=True, hub="openrail"),
    Licence("CreativeML-OpenRAIL-M", share_alike=True, hub="creativeml-openrail-m"),
    Licence("HAI-DEF", share_alike=True, url=_HAI_DEF),
    Licence("all rights reserved", "no", "no", passed_on="no"),
)
_BY_ID = {licence.id.lower(): licence for licence in _TABLE}

# Words of publishers, folded as `_fold` does -> identifier of the table.
_WORDS = {
    "mit license": "MIT",
    "apache": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "cc0": "CC0-1.0",
    "cc zero": "CC0-1.0",
    "pdm": "CC-PDM-1.0",
    "public domain": "CC-PDM-1.0",
    "publicdomain": "CC-PDM-1.0",
    "no known copyright restrictions": "CC-PDM-1.0",
    "us government work": "CC-PDM-1.0",
    "pddl": "PDDL-1.0",
    "odc by": "ODC-By-1.0",
    "odbl": "ODbL-1.0",
    "ogl": "OGL-UK-3.0",
    "gpl": "GPL-3.0",
    "gpl 2.0 only": "GPL-2.0",
    "gpl 2.0 or later": "GPL-2.0",
    "gpl 3.0 only": "GPL-3.0",
    "gpl 3.0 or later": "GPL-3.0",
    "agpl 3.0 only": "AGPL-3.0",
    "agpl 3.0 or later": "AGPL-3.0",
    "health ai developer foundations": "HAI-DEF",
    "health ai developer foundations terms of use": "HAI-DEF",
    "copyright": "all rights reserved",
    "in copyright": "all rights reserved",
    "proprietary": "all rights reserved",
}
# Words that say that nobody has said it; GBIF's two among them.
_NOTHING = {"", "unknown", "none", "null", "nan", "other", "n a", "unspecified", "unsupported"}
_CC_HUB = {
    "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
}  # fmt: skip


def read_licence(said: str) -> Licence:
    """Return the licence that a publisher's word, address or identifier means.

    One that is not known comes back with everything `unknown`, under the word that was said.
    """
    text = " ".join(said.split())
    folded = _fold(text)
    if folded in _NOTHING and "©" not in text:
        return _unknown("unknown")
    if found := _BY_ID.get(text.lower()) or _BY_ID.get(folded.replace(" ", "-")):
        return found
    if folded in _WORDS:
        return _BY_ID[_WORDS[folded].lower()]
    if found := _read_creative_commons(text):
        return found
    for address, word in (
        ("opensource.org/license/mit", "MIT"),
        ("opensource.org/licenses/mit", "MIT"),
        ("apache.org/licenses/license-2.0", "Apache-2.0"),
        ("opendatacommons.org/licenses/by", "ODC-By-1.0"),
        ("opendatacommons.org/licenses/odbl", "ODbL-1.0"),
        ("opendatacommons.org/licenses/pddl", "PDDL-1.0"),
        ("nationalarchives.gov.uk/doc/open-government-licence", "OGL-UK-3.0"),
        ("rightsstatements.org/vocab/inc", "all rights reserved"),
        ("rightsstatements.org/page/inc", "all rights reserved"),
        (_HAI_DEF.removeprefix("https://"), "HAI-DEF"),
    ):
        if address in text.lower():
            return _BY_ID[word.lower()]
    if "all rights reserved" in folded or text.lower().startswith(("©", "(c)", "copyright")):
        return _BY_ID["all rights reserved"]
    return _unknown(text)


def choose_licence(said: str) -> Licence:
    """Return the licence that a model is to be published under.

    Raises:
        UsageError: If it is none that one can publish under, or is not known.
    """
    found = read_licence(said)
    if re.fullmatch(r"CC-BY(-[A-Z]{2})*", found.id):
        found = read_licence(f"{found.id}-4.0")
    known = [one.id for one in _TABLE] + ["CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0"]
    if not found.known:
        raise UsageError(
            f"--licence {said}: what it allows is not known here",
            suggest(said, known) or f"known are {', '.join(known)}",
        )
    if found.passed_on == "no":
        raise UsageError(
            f"--licence {said}: nobody could use what is published under it",
            "leave the model on your disk, or choose CC-BY-NC-ND-4.0",
        )
    return found


def narrow(licence: Licence, *, commercial: Allowed, derivatives: Allowed) -> Licence:
    """Return a licence with what a card says of it: a no of either counts, and fills a gap."""

    def stricter(own: Allowed, said: Allowed) -> Allowed:
        return said if own == "unknown" or said == "no" else own

    filled = licence.passed_on == "unknown" and "unknown" not in (commercial, derivatives)
    return replace(
        licence,
        commercial=stricter(licence.commercial, commercial),
        derivatives=stricter(licence.derivatives, derivatives),
        passed_on="yes" if filled else licence.passed_on,
    )


def _read_creative_commons(text: str) -> Licence | None:
    """Read "CC BY-NC 4.0", "cc_by_nc_4_0", and addresses of creativecommons.org."""
    flat = re.sub(r"[\s_]+", "-", text.lower())
    if re.search(r"publicdomain/zero|\bcc-?0\b|\bcc-zero\b", flat):
        return _BY_ID["cc0-1.0"]
    if re.search(r"publicdomain/mark|\bpdm\b", flat):
        return _BY_ID["cc-pdm-1.0"]
    flat = flat.replace("attribution", "cc-by").replace("noncommercial", "nc")
    flat = flat.replace("non-commercial", "nc").replace("sharealike", "sa")
    flat = flat.replace("share-alike", "sa").replace("noderivatives", "nd")
    flat = flat.replace("noderivs", "nd").replace("no-derivatives", "nd")
    flat = flat.replace("creative-commons", "cc")
    found = re.search(
        r"(?:creativecommons\.org/licenses/|\bcc-?)(by(?:-(?:nc|sa|nd))*)(?![a-z])"
        r"(?:[/-]?(\d)[.-](\d))?",
        flat,
    )
    if not found:
        return None
    parts = found[1].split("-")
    version = f"{found[2]}.{found[3]}" if found[2] else ""
    kind = "-".join(p for p in ("by", "nc", "nd", "sa") if p in parts)
    hub = f"cc-{kind}-{version}".rstrip("-")
    return Licence(
        hub.upper(),
        commercial="no" if "nc" in parts else "yes",
        derivatives="no" if "nd" in parts else "yes",
        share_alike="sa" in parts,
        hub=hub if hub in _CC_HUB else "other",
        url=f"{_CC}/licenses/{kind}/{version or '4.0'}/",
    )


def _unknown(word: str) -> Licence:
    return Licence(word, "unknown", "unknown", passed_on="unknown")


def _fold(text: str) -> str:
    return re.sub(r"[\s_,()©/-]+", " ", text.lower()).strip(" .")
