"""Exports a model: written beside its place, read back and compared, then put there."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from domainclip import __version__
from domainclip.errors import DataError, UsageError
from domainclip.model.building import quiet
from domainclip.model.clip import DomainClip
from domainclip.model.folder import write_json

from .comparing import compare, require_equal
from .samples import COUNT
from .stock import Stock, fold_head
from .target import TOLERANCES, LabelVectors, Target, find_target
from .towers import SourceTowers, Towers

RECORD = "export.json"

Measure = Callable[[Towers], Mapping[str, Any]]
"""Says how much an export, loaded by its program, differs on pictures of known labels."""


def export_model(
    model: DomainClip,
    to: str,
    out: Path,
    *,
    head: str = "names",
    dtype: str = "float32",
    about: Mapping[str, Any] | None = None,
    notes: tuple[str, ...] = (),
    labels: LabelVectors | None = None,
    measure: Measure | None = None,
) -> dict[str, Any]:
    """Write a model for another program; the folder is there whole and checked, or not at all.

    Args:
        model: The model, on the CPU.
        to: One of `TARGETS`.
        out: The folder, which must be missing or empty.
        head: The head to fold in.
        dtype: The number format of the weights, one of `DTYPES`.
        about: What else the record says of the model: name, digest, licence.
        notes: What else people must be told of what the program does not know.
        labels: Label vectors, for a program that takes some.
        measure: Measures the accuracy of what was read back.

    Returns:
        The record, as `export.json` has it.

    Raises:
        UsageError: If the program does not know such a model, or the folder is not empty.
        DataError: If what was read back differs, or the folder cannot be written.
    """
    target = find_target(to, dtype)
    require_empty(out)
    stock = fold_head(model, head)
    if not (stock.folded or target.takes_any_head):
        raise UsageError(
            f"the head {head!r} cannot be folded into this image tower, which ends in no "
            "projection that it could take the place of",
            "--to onnx takes it all the same; --head names goes everywhere",
        )
    if target.needs_text and not stock.reads:
        tokenizer: Any = stock.tokenizer
        raise UsageError(
            f"the model has no tokenizer, which the export to {to} needs: {tokenizer.reason}",
            "with the network on it may be found; --to onnx does without",
        )
    with _whole_folder(out) as folder:
        record = {
            "made_by": f"domainclip {__version__}", "to": to, **(about or {}), **_say(stock, dtype),
        }  # fmt: skip
        record |= (told := target.write(stock, folder, dtype, labels))
        record["notes"] = [*_notes(stock, to), *told.get("notes", ()), *notes]
        record["check"] = _check(model, stock, target, folder, dtype, labels, measure)
        record["bytes"] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        write_json(folder / RECORD, record)
    return record


def require_empty(out: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        UsageError: If it does, or is no folder.
    """
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} is there already", "name another folder with --out, or remove it")


def _check(
    model: DomainClip,
    stock: Stock,
    target: Target,
    folder: Path,
    dtype: str,
    labels: LabelVectors | None,
    measure: Measure | None,
) -> dict[str, Any]:
    try:
        with quiet():
            found = target.read(folder, stock)
    except Exception as error:  # whatever a program says of a file that it cannot use
        said = " ".join(str(error).split())[:300]
        raise DataError(
            f"the export was removed: it cannot be loaded: {type(error).__name__}: {said}",
            "another --to may fit this model",
        ) from error
    if found is None:
        return {"checked": False, "reason": target.missing}
    differences = compare(SourceTowers(model, stock.head), found, stock, target, labels)
    limit = max(target.tolerance, TOLERANCES[dtype])
    require_equal(differences, limit, found.tool)
    checked = {
        "checked": True, "tool": found.tool, "images": COUNT, "texts": COUNT, "limit": limit,
        "largest_difference": differences.as_dict(),
    }  # fmt: skip
    return checked | ({"accuracy": dict(measure(found))} if measure else {})


def _say(stock: Stock, dtype: str) -> dict[str, Any]:
    """Return what every user of an export has to know."""
    pre = stock.preprocess
    return {
        "head": stock.head, "dtype": dtype, "prefix": stock.prefix,
        "dimension": int(stock.config["embed_dim"]), "size": pre.size, "resize": pre.shortest,
        "resize_mode": pre.mode,
        "mean": list(pre.mean), "std": list(pre.std), "interpolation": pre.interpolation,
        "context_length": stock.context, "logit_scale": stock.scale, "logit_bias": stock.bias,
        "tokenizer": type(stock.tokenizer).__name__ if stock.reads else None,
    }  # fmt: skip


def _notes(stock: Stock, to: str) -> list[str]:
    """Return what the program will not do of itself."""
    notes, pre = [], stock.preprocess
    if stock.prefix:
        notes.append(
            f"this model was trained on texts that begin with {stock.prefix!r}: write it and a "
            "space before each text"
        )
    if pre.shortest != pre.size and to != "transformers":
        notes.append(
            f"this model was tested on pictures whose shortest side becomes {pre.shortest} pixels, "
            f"the centre of {pre.size} cut out; the program may not do so of itself"
        )
    if stock.bias is not None and to in ("transformers", "pybioclip"):
        notes.append(
            f"the logit bias, {stock.bias:.4g}, is left out: a softmax over labels does not feel it"
        )
    if not stock.reads:
        notes.append("the model has no tokenizer here; texts were compared as random token ids")
    return notes


@contextlib.contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """Give a new folder that takes the place of `out` at the end, and is removed on failure."""
    partial = out.parent / f".{out.name}-{secrets.token_hex(4)}.partial"
    try:
        partial.mkdir(parents=True)
        yield partial
        mode = (partial / RECORD).stat().st_mode  # some libraries' files are for their owner alone
        for file in partial.rglob("*"):
            if file.is_file():
                file.chmod(mode)
        require_empty(out)
        if out.is_dir():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise DataError(
            f"{out} cannot be written: {error.strerror or error}", "name another with --out"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
