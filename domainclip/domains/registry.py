"""Finds the domains that are installed: our own by walking the package, others by entry point."""

from __future__ import annotations

import importlib
import os
import pkgutil
import traceback
from dataclasses import dataclass
from importlib import metadata

from domainclip.errors import UsageError, suggest

from .contract import Domain

GROUP = "domainclip.domains"
"""The entry-point group that a package of somebody else's names its domain in."""


@dataclass(frozen=True)
class Found:
    """A place that claims to hold a domain; loaded only when asked."""

    name: str
    source: str
    target: str
    """`module:attribute`."""

    def load(self) -> Domain:
        """Import the plug and return its domain.

        Raises:
            TypeError: If the plug's value is no `Domain` or carries another name.
            Exception: Whatever the plug's own import raises.
        """
        module, _, attribute = self.target.partition(":")
        value = getattr(importlib.import_module(module), attribute or "DOMAIN")
        if not isinstance(value, Domain):
            raise TypeError(f"{self.target} is a {type(value).__name__}, not a Domain")
        if value.name != self.name:
            raise TypeError(f"{self.target} is named {value.name!r}, but registered as {self.name!r}")
        return value


@dataclass(frozen=True)
class Listing:
    """One row of the list of domains: a domain, or the error that its plug raised."""

    name: str
    source: str
    domain: Domain | None
    error: str = ""


def find_domains() -> dict[str, Found]:
    """Return every installed plug by name, without importing any.

    `DOMAINCLIP_DOMAINS=biology,plankton` limits what is found; two packages that claim one name are
    refused.

    Raises:
        UsageError: If two plugs have the same name.
    """
    from domainclip import domains

    wanted = os.environ.get("DOMAINCLIP_DOMAINS")
    allowed = None if wanted is None else {name.strip() for name in wanted.split(",")}
    found: dict[str, Found] = {}
    for module in pkgutil.iter_modules(domains.__path__):
        if module.ispkg:
            target = f"domainclip.domains.{module.name}:DOMAIN"
            found[module.name] = Found(module.name, "domainclip", target)
    for entry in metadata.entry_points(group=GROUP):
        package = entry.dist.name if entry.dist else "unknown package"
        known = found.get(entry.name)
        if known and (known.source, known.target) != (package, entry.value):
            raise UsageError(
                f"the domain {entry.name!r} is claimed by {known.source} and by {package}",
                "uninstall one of them, or set DOMAINCLIP_DOMAINS to others",
            )
        found[entry.name] = Found(entry.name, package, entry.value)
    return {name: f for name, f in sorted(found.items()) if allowed is None or name in allowed}


def get_domain(name: str) -> Domain:
    """Return one domain by name.

    Raises:
        UsageError: If there is none of that name, or its plug cannot be loaded.
    """
    found = find_domains()
    if name not in found:
        raise UsageError(
            f"no domain {name!r}; there are {', '.join(found) or 'none'}", suggest(name, found)
        )
    try:
        return found[name].load()
    except Exception as error:
        raise UsageError(
            f"the domain {name!r} ({found[name].source}) cannot be loaded: {_one_line(error)}",
            "domainclip domains check shows more",
        ) from error


def list_domains() -> list[Listing]:
    """Return all domains; one whose plug is broken comes with its error instead."""
    rows = []
    for name, found in find_domains().items():
        try:
            rows.append(Listing(name, found.source, found.load()))
        except Exception as error:
            rows.append(Listing(name, found.source, None, _one_line(error)))
    return rows


def _one_line(error: BaseException) -> str:
    return " ".join(traceback.format_exception_only(error)[-1].split())
