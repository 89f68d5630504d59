"""Finds the domains that are installed: our own by walking the package, others by entry point."""

from __future__ import annotations

import importlib
import os
import pkgutil
import traceback
from dataclasses import dataclass, replace
from importlib import metadata

from domainclip.errors import DomainclipError, UsageError, suggest

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
    rivals: tuple[str, ...] = ()
    """Packages that claim the same name; neither side is loaded then."""

    def load(self) -> Domain:
        """Import the plug and return its domain.

        Raises:
            UsageError: If several packages claim the name.
            TypeError: If the plug's value is no `Domain` or carries another name.
            Exception: Whatever the plug's own import raises.
        """
        if self.rivals:
            raise UsageError(
                f"{self.name!r} is claimed by {' and by '.join((self.source, *self.rivals))}",
                "uninstall all but one of them",
            )
        module, _, attribute = self.target.partition(":")
        value = getattr(importlib.import_module(module), attribute or "DOMAIN")
        if not isinstance(value, Domain):
            raise TypeError(f"{self.target} is a {type(value).__name__}, not a Domain")
        if value.name != self.name:
            raise TypeError(
                f"{self.target} is named {value.name!r}, but registered as {self.name!r}"
            )
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

    `DOMAINCLIP_DOMAINS=biology,plankton` limits what is found. A name that two packages claim is
    kept once, with its rivals, and cannot be loaded; all other domains can.
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
        if known is None:
            found[entry.name] = Found(entry.name, package, entry.value)
        elif (known.source, known.target) != (package, entry.value):
            found[entry.name] = replace(known, rivals=(*known.rivals, package))
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
    except (Exception, SystemExit) as error:
        hint = error.hint if isinstance(error, DomainclipError) else ""
        raise UsageError(
            f"the domain {name!r} ({found[name].source}) cannot be loaded: {_one_line(error)}",
            hint or f"repair or uninstall {found[name].source}; domainclip domains list shows all",
        ) from error


def list_domains() -> list[Listing]:
    """Return all domains; one whose plug is broken comes with its error instead."""
    rows = []
    for name, found in find_domains().items():
        try:
            rows.append(Listing(name, found.source, found.load()))
        except (Exception, SystemExit) as error:  # a plug may even exit when it is imported
            rows.append(Listing(name, found.source, None, _one_line(error)))
    return rows


def _one_line(error: BaseException) -> str:
    if isinstance(error, DomainclipError):
        return error.message
    return " ".join(traceback.format_exception_only(error)[-1].split())
