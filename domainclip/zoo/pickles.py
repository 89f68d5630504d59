"""Pickled checkpoints, read in a process of its own that runs nothing and takes no more than told.

A pickle is a program. Here torch's `weights_only` reader, which calls a short list of functions
that build tensors, reads it in a process with bounds on memory, time and output; tensors come back
as safetensors. The module is run by that process as well: `python -m domainclip.zoo.pickles`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from domainclip.errors import DataError

GIB = 1 << 30
LIMIT = 32 * GIB
"""Bytes of the largest checkpoint that is read."""

_HOLDERS = ("state_dict", "model_state_dict", "model", "module", "net", "weights", "params")
"""Keys that trainers keep weights under, beside the state of their optimizers."""
_WAY_ON = "get the file again from where its publishers keep it, or ask them for safetensors"


def unpickle(path: Path, into: Path, *, limit: int = LIMIT) -> Path:
    """Write the weights of a pickled checkpoint as safetensors.

    Args:
        path: The checkpoint: `.pt`, `.pth`, `.bin`, `.ckpt`, or a TorchScript archive.
        into: The file to write.
        limit: Bytes of the largest checkpoint that is read.

    Raises:
        DataError: If it is too large, cut off or empty, holds no weights, or would run something.
    """
    size = path.stat().st_size
    if not size:
        raise DataError(f"{path} is empty", _WAY_ON)
    if size > limit:
        raise DataError(
            f"{path} has {size / GIB:.1f} GiB, and a pickled checkpoint may have "
            f"{limit / GIB:.1f} GiB",
            "ask its publishers for safetensors, which need no such limit",
        )
    package = str(Path(__file__).resolve().parents[2])
    known = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(path.resolve()), str(into.resolve())],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(known), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0 and into.is_file():
        return into
    with contextlib.suppress(OSError):
        into.unlink()
    raise DataError(f"{path}: {_reason(done)}", _WAY_ON)


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return why the process did not do it, from what it said or how it ended."""
    last = done.stdout.strip().splitlines()[-1:]
    with contextlib.suppress(ValueError, TypeError, KeyError, IndexError):
        return str(json.loads(last[0])["error"])
    if done.returncode < 0:
        return f"its reader was ended by signal {-done.returncode}: it took too much memory or time"
    said = " ".join(done.stderr.strip().splitlines()[-1:])
    return f"its reader failed: {said[:300] or f'exit code {done.returncode}'}"


def main(path: Path, into: Path) -> int:
    """Read a checkpoint and write its tensors, in the process that may do no more.

    Returns:
        The exit code; the reason of a failure is printed as JSON.
    """
    import torch  # before the bounds: libraries take address space too
    from safetensors.torch import save_file

    _bound(path.stat().st_size)
    whole = torch.contiguous_format  # and each apart: tensors may be views of one another
    try:
        state = _flatten(find_weights(_load(path, torch)))
        _check_size(state, path.stat().st_size)
        own = {name: value.clone(memory_format=whole) for name, value in state.items()}
        _save(own, into, save_file)
    except DataError as error:
        reason = error.message
    except MemoryError:
        reason = "it takes more memory than a file of its size should"
    except Exception as error:  # whatever a broken file makes a library say
        reason = _explain(error)
    else:
        return 0
    print(json.dumps({"error": reason}))
    return 1


def _save(state: Mapping[str, Any], into: Path, save_file: Any) -> None:
    try:
        save_file(state, into)
    except Exception as error:  # safetensors has an error of its own for a full disk
        said = " ".join(str(error).split())[:200]
        raise DataError(f"its tensors cannot be written to {into.parent}: {said}") from error


def _bound(size: int) -> None:
    """Bound memory, processor time and output of this process, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    taken = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        taken = pages * resource.getpagesize()
    bounds = {
        # the map of the file, its tensors, and those tensors once more on their way out
        "RLIMIT_AS": taken + 4 * size + 2 * GIB if taken else None,
        "RLIMIT_CPU": 300 + 120 * size // GIB,
        "RLIMIT_FSIZE": 4 * size + GIB,
        "RLIMIT_CORE": 0,
    }
    for name, most in bounds.items():
        if most is not None and hasattr(resource, name):
            with contextlib.suppress(OSError, ValueError):  # one that is lower already stays
                resource.setrlimit(getattr(resource, name), (most, most))


def _load(path: Path, torch: Any) -> Any:
    from . import torchscript

    if torchscript.is_one(path):
        return torchscript.read_state(path)
    with torch.serialization.safe_globals(_plain_classes()):
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap can only be used" not in str(error):
                raise
        return torch.load(path, map_location="cpu", weights_only=True)  # the format before 2020


def _plain_classes() -> list[Any]:
    """Return classes that trainers keep beside weights, and that only hold what they are given."""
    import argparse
    import pathlib

    import numpy

    plain: list[Any] = [argparse.Namespace, numpy.dtype]
    plain += [(pathlib.PurePosixPath, f"pathlib.{name}") for name in ("PosixPath", "WindowsPath")]
    plain += [type(numpy.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")]
    rebuild = numpy.float64(0).__reduce__()[0]
    plain += [(rebuild, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return plain


def find_weights(found: Any) -> Mapping[str, Any]:
    """Return the mapping from names to tensors that a checkpoint holds.

    Raises:
        DataError: If there is none.
    """
    if not isinstance(found, Mapping):
        raise DataError(f"it holds no weights but a {type(found).__name__}")
    inner = _search(found)
    if inner is None:
        keys = ", ".join(sorted(map(str, found))[:10])
        raise DataError(f"it holds no weights; its keys are {keys or 'none'}")
    return inner


def _search(found: Mapping[str, Any], depth: int = 3) -> Mapping[str, Any] | None:
    for key in _HOLDERS if depth else ():
        inner = found.get(key)
        if isinstance(inner, Mapping) and (deeper := _search(inner, depth - 1)) is not None:
            return deeper
    return found if any(True for _ in _tensors(found)) else None


def _tensors(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        if isinstance(name, str) and hasattr(value, "untyped_storage"):
            yield name, value


def _flatten(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.detach() for name, value in _tensors(found) if not value.is_sparse}


def _check_size(state: Mapping[str, Any], size: int) -> None:
    """Refuse tensors that claim far more numbers than the file has: views of one number."""
    claimed = sum(value.numel() * value.element_size() for value in state.values())
    if claimed > 2 * size + (1 << 20):
        raise DataError(f"its tensors claim {claimed} bytes, but the file has {size}")


def _explain(error: Exception) -> str:
    said = " ".join(str(error).split())
    if "Weights only load failed" in said:
        named = re.search(r"GLOBAL (\S+)", said)
        if named:
            return f"it would run {named[1]} when loaded, so it was not loaded and nothing was run"
        why = said.rpartition("WeightsUnpickler error:")[2].partition("Check the documentation")[0]
        if "Unsupported operand" in why:  # the number of a pickle's instruction tells nobody more
            why = "torch writes none of its kind"
        return f"it is no plain checkpoint, so it was not loaded and nothing was run: {why.strip()}"
    broken = isinstance(error, OSError) and error.errno == errno.EINVAL
    if "central directory" in said or broken or isinstance(error, EOFError):
        return "it is cut off, or no checkpoint at all"
    if "memory" in said.lower() or "mmap" in said:
        return f"it takes more memory than a file of its size should: {said[:200]}"
    return f"it cannot be read: {said[:300]}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
