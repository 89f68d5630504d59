"""The socket that domains plug into: the contract, the label tree and the registry.

The plugs themselves live in the top-level folder `domains/` of a checkout and are installed as
`domainclip.domains.<name>`; the lines below make a checkout behave like an install.
"""

from pathlib import Path

_root = Path(__file__).resolve().parents[2]
if (_root / "pyproject.toml").is_file() and (_root / "recipes").is_dir():
    _plugs = _root / "domains"
    if _plugs.is_dir():
        __path__.append(str(_plugs))
