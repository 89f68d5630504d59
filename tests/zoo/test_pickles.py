"""Pickled checkpoints: what is read, and what is refused before anything of it is run."""

import argparse
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from domainclip.errors import DataError
from domainclip.zoo import torchscript
from domainclip.zoo.pickles import find_weights, unpickle


class Touch:
    """Creates a file when it is unpickled: what a hostile checkpoint would do, without harm."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def read(path):
    return load_file(unpickle(path, path.with_suffix(".safetensors")))


def refuse(path):
    with pytest.raises(DataError) as caught:
        unpickle(path, path.with_suffix(".safetensors"))
    assert not path.with_suffix(".safetensors").exists()
    assert str(path) in caught.value.message and caught.value.hint
    return caught.value.message


def test_weights_beside_what_trainers_keep(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    torch.save(
        {
            "state_dict": {"a": shared, "b": shared.T, "c": torch.tensor(2, dtype=torch.int64)},
            "optimizer": {"state": torch.ones(3)},
            "args": argparse.Namespace(lr=0.1, path=tmp_path), "best": np.float64(0.5),
        },
        tmp_path / "w.pt",
    )  # fmt: skip
    found = read(tmp_path / "w.pt")
    assert found.keys() == {"a", "b", "c"}
    assert torch.equal(found["b"], shared.T) and found["c"].item() == 2


def test_the_format_before_2020(tmp_path):
    torch.save({"a": torch.ones(3)}, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(read(tmp_path / "w.pt")["a"], torch.ones(3))


@pytest.mark.parametrize("new", [True, False])
def test_code_is_never_run(tmp_path, new):
    mark, path = tmp_path / "mark", tmp_path / "w.pt"
    torch.save({"a": torch.ones(3), "b": Touch(mark)}, path, _use_new_zipfile_serialization=new)
    said = refuse(path)
    assert "it would run" in said and "system" in said and "nothing was run" in said
    assert not mark.exists()
    torch.load(path, weights_only=False)  # the trap is a real one
    assert mark.exists()


def test_a_pickle_that_torch_did_not_write(tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "w.bin"
    path.write_bytes(pickle.dumps({"a": Touch(mark)}))
    said = refuse(path)
    assert "nothing was run: torch writes none of its kind" in said and "operand" not in said
    assert not mark.exists()


def test_files_that_are_cut_off_or_empty(tmp_path):
    torch.save({"a": torch.ones(3000)}, tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:5000])
    assert "cut off" in refuse(tmp_path / "cut.pt")
    (tmp_path / "none.pt").touch()
    assert "is empty" in refuse(tmp_path / "none.pt")


def test_a_checkpoint_that_is_too_large(tmp_path):
    torch.save({"a": torch.ones(3000)}, tmp_path / "w.pt")
    with pytest.raises(DataError, match="may have"):
        unpickle(tmp_path / "w.pt", tmp_path / "out.safetensors", limit=1000)


def test_tensors_that_claim_more_than_the_file_has(tmp_path):
    torch.save({"a": torch.ones(1).expand(10**12)}, tmp_path / "w.pt")
    assert "claim 4000000000000 bytes" in refuse(tmp_path / "w.pt")


@pytest.mark.slow
def test_memory_is_bounded(tmp_path):
    """A small archive that unpacks to far more than its size: 3 GiB of nothing in one pickle."""
    pytest.importorskip("resource")
    if not Path("/proc/self/statm").exists():
        pytest.skip("the system does not say how much address space is taken")
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("w/data.pkl", "w", force_zip64=True) as entry:
            for _ in range(3 << 3):
                entry.write(bytes(128 << 20))
        archive.writestr("w/version", "3")
        archive.writestr("w/constants.pkl", "")
    said = refuse(path)
    assert "memory" in said


def test_a_torchscript_archive(tmp_path):
    class Inner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 4, 2).half(), torch.nn.BatchNorm2d(4)
            self.blocks = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
            self.scale = torch.nn.Parameter(torch.tensor(4.6))

        def forward(self, x):
            return self.blocks[1](self.blocks[0](x)) * self.scale

    model = Inner()
    torch.jit.save(torch.jit.script(model), tmp_path / "w.pt")
    found = read(tmp_path / "w.pt")
    assert found.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(found[name], value) and found[name].dtype == value.dtype


def test_a_torchscript_archive_that_names_code(tmp_path):
    mark = tmp_path / "mark"
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("w/data.pkl", pickle.dumps(Touch(mark), protocol=2))
        archive.writestr("w/constants.pkl", b"")
    assert torchscript.is_one(tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"system when loaded.*nothing was run"):
        torchscript.read_state(tmp_path / "w.pt")
    assert not mark.exists()


@pytest.mark.parametrize(
    "found",
    [{"state_dict": {"a": 1}}, {"model": {"state_dict": {"a": 1}}, "ema": {"a": 2}}, {"a": 1}],
)
def test_where_trainers_keep_weights(found):
    def fill(value):
        return torch.ones(2) if value == 1 else {k: fill(v) for k, v in value.items()}

    told = {key: fill(value) if value != {"a": 2} else {} for key, value in found.items()}
    assert [*find_weights(told)] == ["a"]


def test_a_checkpoint_without_weights():
    with pytest.raises(DataError, match="its keys are epoch, lr"):
        find_weights({"epoch": 3, "lr": 0.1})
    with pytest.raises(DataError, match="but a list"):
        find_weights([torch.ones(2)])
