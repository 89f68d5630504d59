"""What is shipped is what is in the tree, and all three ways to install it behave alike."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import domainclip

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LITTER = {"__pycache__", ".ipynb_checkpoints", ".DS_Store"}


def files_below(folder: str) -> set[str]:
    found = (p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc")
    return {p.relative_to(ROOT).as_posix() for p in found if not LITTER & set(p.parts)}


def hatchling(target: str, source: Path, out: Path) -> Path:
    """Build one target with the build backend of this environment; needs no network."""
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(hatchling("sdist", ROOT, folder / "dist")) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    return source


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """The wheel built from the sdist, as the package index would serve it."""
    return hatchling("wheel", sdist, tmp_path_factory.mktemp("wheel") / "dist")


def test_the_sdist_is_complete(sdist):
    missing = {
        name
        for folder in ("domainclip", "domains", "recipes", "tests", "notebooks", "benchmarks")
        for name in files_below(folder)
        if not (sdist / name).is_file()
    }
    assert not missing
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"):
        assert (sdist / name).is_file(), name


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = {n for n in zipfile.ZipFile(wheel).namelist() if not n.endswith("/")}
    info = {n for n in names if n.startswith(f"domainclip-{domainclip.__version__}.dist-info/")}
    expected = files_below("domainclip")
    expected |= {f"domainclip/{n}" for n in files_below("domains") | files_below("recipes")}
    assert names - info == expected
    assert {n.split("/")[-1] for n in info} >= {"METADATA", "entry_points.txt", "LICENSE"}
    for kind in ("py.typed", ".yaml", ".json", "data/"):
        assert any(kind in name for name in expected), f"nothing like {kind} is shipped"


ASK = """
import json, sys
from pathlib import Path
import domainclip
from domainclip.domains.registry import list_domains
from domainclip.paths import recipes_dir
rows = list_domains()
print(json.dumps({
    "package": str(Path(domainclip.__file__).parent),
    "recipes": str(recipes_dir()),
    "count": len(list(recipes_dir().rglob("*.yaml"))),
    "errors": [row.error for row in rows if row.error],
    "labels": {row.name: len(row.domain.labels()) for row in rows if row.domain},
    "modules": sorted({row.domain.labels.__module__.split(".")[2] for row in rows if row.domain}),
    "copies": sorted(m for m in sys.modules if m.split(".")[0] in ("domains", "recipes")),
}))
"""


def ask(cwd: Path, *path: Path, before: str = "") -> dict[str, object]:
    """Run in `cwd` with `path` first on the import path, and say what was found."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-c", before + ASK]
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> dict[str, object]:
    return ask(tmp_path_factory.mktemp("elsewhere"), ROOT)


def same_but_place(one: dict, other: dict) -> bool:
    return all(one[key] == other[key] for key in one if key not in ("package", "recipes"))


def test_a_bare_checkout_works(checkout):
    assert checkout["package"] == str(ROOT / "domainclip")
    assert checkout["recipes"] == str(ROOT / "recipes") and checkout["count"] > 0
    assert set(checkout["modules"]) == {"biology", "medical", "remote_sensing"}
    assert checkout["errors"] == [] and checkout["copies"] == []
    assert min(checkout["labels"].values()) > 5


def test_a_regular_install_works_beside_strays(wheel, checkout, tmp_path):
    place = tmp_path / "site-packages"
    zipfile.ZipFile(wheel).extractall(place)
    (place / "pyproject.toml").write_text(
        ""
    )  # somebody else's litter must not look like a checkout
    (place / "recipes").mkdir()
    (place / "domains").mkdir()
    installed = ask(tmp_path, place)
    assert installed["package"] == str(place / "domainclip")
    assert installed["recipes"] == str(place / "domainclip" / "recipes")
    assert same_but_place(installed, checkout)


def test_an_editable_install_is_the_checkout(checkout, tmp_path):
    pytest.importorskip("hatchling")
    build = "import sys, hatchling.build as b; print(b.build_editable(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    place = tmp_path / "site-packages"
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(place)
    before = (
        f"import site, sys; site.addsitedir({str(place)!r})\nsys.path.insert(0, sys.path.pop())\n"
    )
    assert ask(tmp_path, before=before) == checkout


# A tool that an export is for: it is checked there by whoever has it.
CHECKED_WITH = {"pybioclip"}


def test_every_import_is_of_a_declared_dependency():
    extras = PROJECT["optional-dependencies"]
    optional = [d for extra, some in extras.items() if extra not in ("test", "dev") for d in some]
    every = [*PROJECT["dependencies"], *optional]
    declared = {normal(re.split(r"[<>=~!\[; ]", dependency)[0]) for dependency in every}
    declared |= CHECKED_WITH
    owners = metadata.packages_distributions()
    undeclared = set()
    for path in [*(ROOT / "domainclip").rglob("*.py"), *(ROOT / "domains").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for top in {name.split(".")[0] for name in names}:
                if top in sys.stdlib_module_names or top == "domainclip":
                    continue
                if not declared & {normal(owner) for owner in owners.get(top, [top])}:
                    undeclared.add(f"{path.relative_to(ROOT)}:{node.lineno}: {top}")
    assert not undeclared, "\n".join(sorted(undeclared))


# Others import these for us: open_clip towers and transforms, transformers SigLIP's tokenizer.
BEHIND_OTHERS = {"timm", "torchvision", "sentencepiece", "protobuf"}


def test_every_declared_dependency_is_imported():
    owners = metadata.packages_distributions()
    sources = [*(ROOT / "domainclip").rglob("*.py"), *(ROOT / "domains").rglob("*.py")]
    text = "\n".join(p.read_text(encoding="utf-8") for p in sources)
    for dependency in PROJECT["dependencies"]:
        name = normal(re.split(r"[<>=~!\[; ]", dependency)[0])
        if name in BEHIND_OTHERS:
            continue
        tops = [top for top, dists in owners.items() if name in map(normal, dists)]
        assert any(
            re.search(rf"^\s*(import|from) {re.escape(top)}\b", text, re.MULTILINE) for top in tops
        ), f"{dependency} is installed for everybody and imported by nobody"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_companions_agree_with_the_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == domainclip.__version__
    assert cited["license"] == PROJECT["license"] == "MIT"
    assert f"## [{domainclip.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_nothing_large_is_committed():
    found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("not a git checkout")
    paths = (ROOT / name for name in found.stdout.split("\0") if name)
    large = [str(p) for p in paths if p.is_file() and p.stat().st_size > 500_000]
    assert not large
