"""Holds the house to its plan: one direction of imports, neutral names, light front rooms."""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "domainclip"
PLUGS = ROOT / "domains"

# Top to bottom: a room imports only from lines below its own. Rooms in one line do not import each
# other. A new module of domainclip/ is entered here, or a test below fails.
STOREYS = (
    ("__init__", "__main__"),  # the front door is lazy: it names what it opens
    ("cli",),
    ("testing",),
    ("training",),
    ("evaluation",),
    ("inference",),
    ("captioning", "zoo"),
    ("model", "data", "texts", "plot"),
    ("knowledge",),
    ("endpoints",),
    ("recipe",),
    ("domains",),
    ("paths", "errors"),
)
STOREY = {room: level for level, rooms in enumerate(STOREYS) for room in rooms}

# What lies behind the public names of the front door, for `from domainclip import train`.
DOORS = {
    "FewShotClassifier": "inference",
    "SearchIndex": "inference",
    "ZeroShotClassifier": "inference",
    "get_domain": "domains",
    "list_domains": "domains",
    "load_model": "zoo",
    "train": "training",
}

# What a plug may import beside the standard library and its own modules.
PLUG_MAY_IMPORT = {
    "domainclip.domains.contract",
    "domainclip.domains.labels",
    "domainclip.errors",
    "albumentations",
    "cv2",
    "numpy",
    "pandas",
    "PIL",
    "yaml",
}

# Words of one field. They may stand as examples, in docstrings, comments and command lines
# (strings that begin with "domainclip "), and nowhere else.
_WORDS = """
biology biological biomedical butterfly butterflies species genus taxon taxa taxonomy taxonomic
organism plankton plant bird insect linnaean medical medicine clinical patient patients radiology
pathology histology leukocyte erythrocyte blood remote_sensing satellite sentinel eurosat landcover
geotiff
"""
FIELD_WORDS = set(_WORDS.split())
FIELD_PHRASES = ("land cover", "scientific name")

# The exceptions: column names of a data standard, and file names of another program, each in the
# one file that knows it.
STANDARDS = {
    "domainclip/domains/darwin_core.py": {"genus", "species", "taxon"},
    "domainclip/zoo/export/pybioclip.py": {"species"},
}

MAX_LINES = 400
VAGUE = {"utils", "util", "helpers", "helper", "misc", "common", "base", "manager", "core"}


def python_files(*roots: Path) -> list[Path]:
    return sorted(p for root in roots for p in root.rglob("*.py"))


def module_name(path: Path) -> str:
    """The name under which a file is imported; a plug is installed inside the package."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "domains":
        parts.insert(0, "domainclip")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, source: str | None = None) -> Iterator[tuple[int, str]]:
    """Every imported dotted name with its line; `from a import b` counts as `a.b`."""
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    text = path.read_text(encoding="utf-8") if source is None else source
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def room_of(dotted: str) -> str | None:
    """The room of domainclip that a dotted name lies in; None for a name of another package."""
    parts = dotted.split(".")
    if parts[0] != "domainclip":
        return None
    if len(parts) == 1:
        return "__init__"
    if parts[1] in STOREY:
        return parts[1]
    if parts[1] == "__version__":
        return "paths"  # a constant, as low as the lowest room
    return DOORS.get(parts[1], parts[1])


def wrong_arrows(path: Path, source: str | None = None) -> list[str]:
    place = path.relative_to(ROOT).as_posix()
    own = room_of(module_name(path)) or ""
    wrong = []
    for line, dotted in imports(path, source):
        room = room_of(dotted)
        if room is None or room == own:
            continue
        if room not in STOREY:
            wrong.append(f"{place}:{line}: {dotted} lies in no known room")
        elif STOREY[room] <= STOREY[own] and own not in STOREYS[0]:
            wrong.append(f"{place}:{line}: {own} must not import {room} ({dotted})")
    return wrong


def wrong_plug_imports(path: Path, source: str | None = None) -> list[str]:
    place = path.relative_to(ROOT).as_posix()
    own = ".".join(module_name(path).split(".")[:3])
    wrong = []
    for line, dotted in imports(path, source):
        starts = {".".join(dotted.split(".")[:n]) for n in range(1, 5)}
        allowed = PLUG_MAY_IMPORT | {own} | sys.stdlib_module_names | {"__future__"}
        if not starts & allowed:
            wrong.append(f"{place}:{line}: a plug must not import {dotted}")
    return wrong


def words(text: str) -> set[str]:
    """Lower-case words of an identifier or a sentence, and pairs joined by an underscore."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    single = [w.lower() for w in re.findall(r"[A-Za-z]+", spaced)]
    return {*single, *(f"{a}_{b}" for a, b in pairwise(single))}


def docstring_lines(tree: ast.AST) -> set[int]:
    """Lines of strings that stand alone as statements: docstrings, of attributes too."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def field_names(path: Path, source: str | None = None) -> list[str]:
    """Words of one field in names and strings, as `file:line: word`."""
    place = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8") if source is None else source
    skip = docstring_lines(ast.parse(text))
    allowed = STANDARDS.get(place, set())
    found = []
    kinds = {tokenize.NAME, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    lines = iter(text.splitlines(keepends=True))
    for token in tokenize.generate_tokens(lambda: next(lines, "")):
        if token.type not in kinds or token.start[0] in skip:
            continue
        if token.string.lstrip("rbfRBF\"'").startswith("domainclip "):
            continue
        told = words(token.string) & FIELD_WORDS
        told |= {p for p in FIELD_PHRASES if p in token.string.lower()}
        found += [f"{place}:{token.start[0]}: {word!r}" for word in sorted(told - allowed)]
    return found


def test_every_room_is_in_the_table():
    rooms = {p.stem for p in PACKAGE.glob("*.py")}
    rooms |= {p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.rglob("*.py"))}
    assert rooms - set(STOREY) == set(), "enter new rooms in STOREYS, at their storey"


def test_the_front_door_opens_what_the_table_says():
    import domainclip

    assert {n: d.split(".")[0] for n, d in domainclip._DOORS.items()} == DOORS


def test_imports_run_one_way():
    wrong = [line for path in python_files(PACKAGE) for line in wrong_arrows(path)]
    assert not wrong, "\n".join(wrong)


def test_plugs_import_only_the_contract_and_readers():
    wrong = [line for path in python_files(PLUGS) for line in wrong_plug_imports(path)]
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_the_plugs_folder_itself():
    folders = [PACKAGE, PLUGS, ROOT / "tests", ROOT / "benchmarks"]
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: import domainclip.domains instead of {dotted}"
        for path in python_files(*folders)
        for line, dotted in imports(path)
        if dotted.split(".")[0] == "domains"
    ]
    assert not wrong, "\n".join(wrong)


def test_the_core_names_no_field():
    wrong = [line for path in python_files(PACKAGE) for line in field_names(path)]
    assert not wrong, "the core names a field, which only a plug may:\n" + "\n".join(wrong)


def test_files_stay_short():
    long = {
        f"{path.relative_to(ROOT)}: {count} lines"
        for path in python_files(PACKAGE, PLUGS)
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long, f"over {MAX_LINES} lines; one idea a file: {sorted(long)}"


def test_names_say_what_things_are():
    files = python_files(PACKAGE, PLUGS)
    vague = [str(p.relative_to(ROOT)) for p in files if p.stem in VAGUE]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith(("Manager", "Helper", "Util")):
                vague.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}")
    assert not vague, f"say what it is instead: {vague}"


@pytest.mark.parametrize(
    ("place", "source", "arrow"),
    [
        ("domainclip/data/x.py", "from ..training import run", "training"),
        ("domainclip/data/x.py", "import domainclip.model.clip", "model"),
        ("domainclip/data/x.py", "from domainclip import train", "training"),
        ("domainclip/errors.py", "def f():\n    from . import paths", "paths"),
        ("domainclip/recipe/x.py", "from domainclip.nowhere import y", "nowhere"),
    ],
)
def test_a_wrong_arrow_is_found(place: str, source: str, arrow: str):
    (message,) = wrong_arrows(ROOT / place, source)
    line = source[: source.index("import")].count("\n") + 1
    assert message.startswith(f"{place}:{line}: ") and arrow in message


@pytest.mark.parametrize(
    ("source", "fine"),
    [
        ("from domainclip.domains.contract import Domain", True),
        ("from ..contract import Domain", True),
        ("from .labels import tree", True),
        ("from . import labels", True),
        ("import cv2, json\nfrom collections.abc import Mapping", True),
        ("from domainclip.domains.other import DOMAIN", False),
        ("from ..other.labels import tree", False),
        ("from domainclip.data.builtin import sample_builtin", False),
        ("import torch", False),
    ],
)
def test_plug_imports_are_judged(source: str, fine: bool):
    assert (wrong_plug_imports(ROOT / "domains/one/builtin.py", source) == []) is fine


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('def f():\n    """A butterfly."""  # a species\n', 0),
        ('x = "biology"', 1),
        ('x = "domainclip train --domain biology"', 0),
        ("remote_sensing = 1", 1),
        ("class SpeciesTree:\n    pass", 1),
        ('x = f"{y} of a blood type"; z = "remote sensing"', 2),
        ("import specific, specification", 0),
    ],
)
def test_field_names_are_found(source: str, count: int):
    found = field_names(PACKAGE / "x.py", source)
    assert len(found) == count
    assert all(line.startswith("domainclip/x.py:1: ") for line in found)


FRONT_ROOMS = [
    "domainclip",
    "domainclip.errors",
    "domainclip.paths",
    "domainclip.domains.registry",
    "domainclip.domains.contract",
    "domainclip.recipe.load",
    "domainclip.cli",
]
SLOW_TO_IMPORT = ["torch", "lightning", "datasets", "pandas", "numpy", "matplotlib", "cv2", "PIL"]


@pytest.mark.parametrize(
    ("modules", "banned"),
    [
        (FRONT_ROOMS, SLOW_TO_IMPORT),
        (["domainclip.testing"], ["torch", "lightning", "datasets"]),
        (["domainclip.zoo", "domainclip.knowledge"], ["torch"]),
    ],
    ids=["front rooms", "testing", "zoo and knowledge"],
)
def test_front_rooms_are_light(run_python, modules: list[str], banned: list[str]):
    existing = [m for m in modules if m.count(".") != 1 or _is_room(m)]
    if not existing:
        pytest.skip(f"there is no {' or '.join(modules)} yet")
    script = (
        "import importlib, sys\n"
        f"for name in {existing}:\n"
        "    importlib.import_module(name)\n"
        f"    print(name, *(m for m in {banned} if m in sys.modules))\n"
    )
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    heavy = [line for line in done.stdout.splitlines() if " " in line]
    assert not heavy, f"importing a front room imports what is slow: {heavy}"


def test_loading_the_plugs_imports_no_torch(run_python):
    script = (
        "import sys\n"
        "from domainclip.domains.registry import list_domains\n"
        "for row in list_domains():\n"
        "    assert row.domain is not None, row\n"
        "    row.domain.labels(); row.domain.builtin.sheets()\n"
        "print(*(m for m in ('torch', 'albumentations', 'lightning') if m in sys.modules))\n"
    )
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def _is_room(dotted: str) -> bool:
    name = dotted.split(".")[1]
    return (PACKAGE / f"{name}.py").is_file() or (PACKAGE / name / "__init__.py").is_file()
