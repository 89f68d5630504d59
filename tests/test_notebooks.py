"""The committed notebooks: run from top to bottom, small, silent about the machine they ran on."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
MOST_BYTES = 500_000
MACHINE = re.compile(
    r"(?<![\w.])/(home|root|Users|tmp|var|mnt|work|opt|usr|private)/|\b[A-Za-z]:\\|site-packages"
)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def said(output) -> str:
    """Return the text of an output, without encoded pictures."""
    texts = [v for kind, v in output.get("data", {}).items() if not kind.startswith("image/")]
    texts += [output[part] for part in ("text", "traceback") if part in output]
    return "\n".join("".join(text) if isinstance(text, list) else str(text) for text in texts)


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_every_cell_was_run_once_and_in_order(notebook):
    counts = [cell["execution_count"] for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_cell_failed_or_warned(notebook):
    outputs = [output for cell in code(notebook) for output in cell["outputs"]]
    assert outputs
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]


def test_it_shows_pictures_and_stays_small(path, notebook):
    kinds = [kind for cell in code(notebook) for o in cell["outputs"] for kind in o.get("data", {})]
    assert any(kind.startswith("image/") for kind in kinds)
    assert path.stat().st_size < MOST_BYTES


def test_nothing_tells_the_machine_it_ran_on(notebook):
    outputs = [said(o) for cell in code(notebook) for o in cell["outputs"]]
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    assert not [text for text in outputs + sources if MACHINE.search(text)]
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert all(set(cell["metadata"]) <= {"tags"} for cell in notebook["cells"])


def test_knobs_come_first(notebook):
    tagged = [cell["metadata"].get("tags", []) for cell in code(notebook)]
    assert tagged[0] == ["parameters"] and not any("parameters" in tags for tags in tagged[1:])


@pytest.mark.parametrize("text", ["/tmp/x", "'/home/me/y'", "C:\\Users", "lib/site-packages/z"])
def test_paths_of_a_machine_are_recognised(text):
    assert MACHINE.search(text)


@pytest.mark.parametrize("text", ["runs/first/tmp/x", "a.jpg", "biology/quickstart", "and/or"])
def test_other_text_is_no_path_of_a_machine(text):
    assert not MACHINE.search(text)
