"""What every test relies on: a cache folder of its own, no network, one thread."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

# Set before any test module imports what reads it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"
for _name in [name for name in os.environ if name.startswith("DOMAINCLIP_")]:
    if _name != "DOMAINCLIP_TEST_DATA":
        del os.environ[_name]  # somebody's own settings must not decide a test

_home = tempfile.TemporaryDirectory(prefix="domainclip-tests-", ignore_cleanup_errors=True)
os.environ["DOMAINCLIP_HOME"] = _home.name


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in a process of its own, outside the checkout, with the package under test."""
    import domainclip

    path = str(Path(domainclip.__file__).resolve().parents[1])

    def run(
        *args: str, python: str = sys.executable, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, *args],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            timeout=timeout,
        )

    return run
