"""domainclip builds, tests, uses and shares a CLIP foundation model of one specialised field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .domains.registry import get_domain, list_domains
    from .inference.classify import ZeroShotClassifier
    from .inference.fewshot.classifier import FewShotClassifier
    from .inference.search.index import SearchIndex
    from .training.run import train
    from .zoo.resolving import load_model

__all__ = [
    "FewShotClassifier", "SearchIndex", "ZeroShotClassifier", "get_domain", "list_domains",
    "load_model", "train",
]  # fmt: skip

_DOORS = {
    "FewShotClassifier": "inference.fewshot.classifier",
    "SearchIndex": "inference.search.index",
    "ZeroShotClassifier": "inference.classify",
    "get_domain": "domains.registry",
    "list_domains": "domains.registry",
    "load_model": "zoo.resolving",
    "train": "training.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import domainclip` stays light."""
    if name not in _DOORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f".{_DOORS[name]}", __name__), name)


def __dir__() -> list[str]:
    """List the public names beside the module's own."""
    return sorted({*globals(), *__all__})
