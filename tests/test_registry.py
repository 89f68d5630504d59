"""Domains are found without being imported, and a bad plug stops nothing."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

import domainclip
from domainclip.domains.registry import find_domains, get_domain, list_domains
from domainclip.errors import UsageError

BUNDLED = {"biology", "medical", "remote_sensing"}
PLANKTON = Path(__file__).parent / "plugs" / "domainclip-plankton"

GOOD = """
import dataclasses
from domainclip.domains.registry import get_domain
DOMAIN = dataclasses.replace(get_domain("medical"), name="%s")
"""


@pytest.fixture
def add_plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a package on the path that claims a domain, as an installed one would."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(package: str, name: str, source: str = "", attribute: str = "DOMAIN") -> None:
        module = package.replace("-", "_")
        monkeypatch.delitem(sys.modules, module, raising=False)  # from the test before
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        )
        info.joinpath("entry_points.txt").write_text(
            f"[domainclip.domains]\n{name} = {module}:{attribute}\n"
        )

    return add


def test_the_bundled_domains_are_found_and_load():
    rows = {row.name: row for row in list_domains()}
    assert set(rows) >= BUNDLED
    for name in BUNDLED:
        assert rows[name].error == "" and rows[name].source == "domainclip"
        assert rows[name].domain is get_domain(name)


def test_a_plug_is_found_without_being_imported(add_plug):
    add_plug("lazy-plug", "lazy", "raise RuntimeError('imported too early')")
    assert find_domains()["lazy"].target == "lazy_plug:DOMAIN"
    assert find_domains()["lazy"].source == "lazy-plug"


def test_a_plug_of_another_package_loads(add_plug):
    add_plug("fine-plug", "fine", GOOD % "fine")
    assert get_domain("fine").name == "fine"


@pytest.mark.parametrize(
    ("source", "attribute", "told"),
    [
        ("import a_package_that_is_not_there", "DOMAIN", "a_package_that_is_not_there"),
        ("1 / 0", "DOMAIN", "ZeroDivisionError"),
        ("raise SystemExit('no licence')", "DOMAIN", "no licence"),
        ("def (", "DOMAIN", "SyntaxError"),
        ("", "DOMAIN", "DOMAIN"),
        ("DOMAIN = 3", "DOMAIN", "is a int, not a Domain"),
        (GOOD % "other", "DOMAIN", "named 'other', but registered as 'bad'"),
    ],
)
def test_a_broken_plug_is_listed_with_its_error(add_plug, source, attribute, told):
    add_plug("bad-plug", "bad", source, attribute)
    rows = {row.name: row for row in list_domains()}
    assert rows["bad"].domain is None and rows["bad"].source == "bad-plug"
    assert told in rows["bad"].error and "\n" not in rows["bad"].error
    assert all(rows[name].domain is not None for name in BUNDLED)
    with pytest.raises(UsageError, match="bad-plug") as caught:
        get_domain("bad")
    assert told in caught.value.message and "bad-plug" in caught.value.hint


def test_two_packages_with_one_name_spoil_only_that_name(add_plug):
    add_plug("one-plug", "twice", GOOD % "twice")
    add_plug("other-plug", "twice", GOOD % "twice")
    rows = {row.name: row for row in list_domains()}
    assert rows["twice"].domain is None
    assert "one-plug" in rows["twice"].error and "other-plug" in rows["twice"].error
    assert all(rows[name].domain is not None for name in BUNDLED)
    with pytest.raises(UsageError, match="claimed by") as caught:
        get_domain("twice")
    assert "uninstall" in caught.value.hint


def test_a_package_cannot_take_the_place_of_a_bundled_domain(add_plug):
    add_plug("cuckoo", "medical", GOOD % "medical")
    row = next(row for row in list_domains() if row.name == "medical")
    assert row.domain is None and "cuckoo" in row.error


def test_the_environment_limits_what_is_found(add_plug, monkeypatch):
    add_plug("fine-plug", "fine", GOOD % "fine")
    monkeypatch.setenv("DOMAINCLIP_DOMAINS", "biology, fine")
    assert list(find_domains()) == ["biology", "fine"]
    monkeypatch.setenv("DOMAINCLIP_DOMAINS", "")
    assert find_domains() == {}
    with pytest.raises(UsageError, match="there are none"):
        get_domain("biology")


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(UsageError, match="no domain 'bioligy'; there are biology") as caught:
        get_domain("bioligy")
    assert caught.value.hint == "did you mean 'biology'?" and caught.value.exit_code == 2


@pytest.fixture(scope="module")
def plankton_python(tmp_path_factory) -> str:
    """The Python of an environment that has the fourth domain and sees all of the outer one."""
    pytest.importorskip("pip", reason="installing a plug needs pip")

    folder = tmp_path_factory.mktemp("plankton")
    venv.create(folder, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    outer = [*site.getsitepackages(), str(Path(domainclip.__file__).resolve().parents[1])]
    lines = [f"import site; site.addsitedir({path!r})\n" for path in outer]  # with their .pth files
    Path(done.stdout.strip(), "outer.pth").write_text("".join(lines))
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    install = [python, "-m", "pip", "install", *quiet, PLANKTON]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(python)


def test_a_fourth_domain_from_a_package_of_its_own(plankton_python, run_python):
    script = (
        "import json\n"
        "from domainclip.domains.registry import find_domains, get_domain\n"
        "from domainclip.testing import check_domain\n"
        "found = find_domains()['plankton']\n"
        "print(json.dumps([found.source, get_domain('plankton').title,\n"
        "    check_domain(get_domain('plankton'))]))\n"
    )
    done = run_python("-c", script, python=plankton_python)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["domainclip-plankton", "Plankton", []]


def test_the_command_line_lists_the_fourth_domain(plankton_python, run_python):
    command = "from domainclip.cli import main; main()"
    done = run_python("-c", command, "domains", "list", "--json", python=plankton_python)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {*BUNDLED, "plankton"}
    assert "domainclip-plankton" in json.dumps(rows["plankton"])
