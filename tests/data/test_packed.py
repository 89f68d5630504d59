"""The packed cache: whole or not at all, whoever writes it and whatever fails."""

import errno
import multiprocessing
import os
import pickle
import subprocess
import time

import numpy as np
import pytest

from domainclip import paths
from domainclip.data import packed
from domainclip.data.packed import fill, fingerprint, open_packed
from domainclip.errors import DataError


def stripe(row):
    """Make a picture that tells its number."""
    if row % 7 == 3:
        raise DataError(f"number {row} is broken")
    return np.full((4, 4, 3), row % 251, np.uint8), {"row": row}


def slow(row):
    time.sleep(0.01)
    return stripe(row)


def cache():
    return paths.cache_dir("pictures")


def left_over():
    return sorted(p.name for p in cache().iterdir()) if cache().is_dir() else []


@pytest.mark.parametrize("n", [0, 1, 10, 500])
def test_every_picture_is_in_its_place(n):
    made = fill("x", stripe, n, 4, title="")
    assert len(made) == n
    assert made.pixels.shape == (n, 4, 4, 3)
    broken = [row for row in range(n) if row % 7 == 3]
    assert dict(made.unreadable) == {row: f"number {row} is broken" for row in broken}
    for row in range(n):
        assert made.notes[row] == (None if row in broken else {"row": row})
        assert (made.pixels[row] == (0 if row in broken else row % 251)).all()
    np.testing.assert_array_equal(made.read(list(range(n))[::-1]), made.pixels[::-1])
    assert left_over() == ["x"]


def test_a_picture_that_is_read_can_be_changed():
    made = fill("x", stripe, 3, 4, title="")
    made.read([1])[:] = 9
    assert (made.read([1]) == 1).all()


def test_it_is_made_once():
    fill("x", stripe, 5, 4, title="")
    again = fill("x", None, 5, 4, title="")
    assert (again.read([2]) == 2).all()


@pytest.mark.parametrize("left", [200, 0])
@pytest.mark.parametrize("name", ["pixels.npy", "index.json"])
def test_a_damaged_cache_is_made_anew(name, left):
    made = fill("x", stripe, 50, 4, title="")
    path = made.folder / name
    path.write_bytes(path.read_bytes()[:left])
    again = fill("x", stripe, 50, 4, title="")
    assert (again.read([49]) == 49).all()
    assert len(again.notes) == 50


def test_it_pickles_as_its_folder():
    made = fill("x", stripe, 500, 4, title="")
    said = pickle.dumps(made)
    assert len(said) < 500
    np.testing.assert_array_equal(pickle.loads(said).pixels, made.pixels)


def test_numpy_reads_the_file():
    made = fill("x", stripe, 5, 4, title="")
    np.testing.assert_array_equal(np.load(made.folder / "pixels.npy"), made.pixels)


def test_a_wrong_shape_is_named():
    with pytest.raises(DataError, match=r"picture 0 came as uint8 \(5, 5, 3\)"):
        fill("x", lambda row: (np.zeros((5, 5, 3), np.uint8), {}), 3, 4, title="")
    assert left_over() == []


@pytest.mark.parametrize("n", [5, 500])
def test_an_error_leaves_nothing_behind(n):
    def fails(row):
        if row == 4:
            raise RuntimeError("the job has a bug")
        return stripe(row)

    with pytest.raises(RuntimeError, match="bug"):
        fill("x", fails, n, 4, title="")
    assert left_over() == []


def test_an_interrupt_leaves_nothing_behind():
    def interrupted(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill("x", interrupted, 5, 4, title="")
    assert left_over() == []


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_a_process_that_dies_is_explained():
    with pytest.raises(DataError, match="a process died while writing") as caught:
        fill("x", lambda row: os._exit(9), 500, 4, title="")
    assert "memory" in caught.value.hint
    assert left_over() == []


def fill_slowly(home, results):
    os.environ["DOMAINCLIP_HOME"] = home
    made = fill("x", slow, 40, 4, title="", quiet=True)
    results.put(int(made.pixels.sum()))


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_two_processes_at_once(home):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    both = [context.Process(target=fill_slowly, args=(str(home), results)) for _ in range(2)]
    for process in both:
        process.start()
    sums = {results.get(timeout=60) for _ in both}
    for process in both:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert sums == {int(open_packed(cache() / "x").pixels.sum())}
    assert left_over() == ["x"]


def test_what_a_killed_process_left_is_removed_after_a_day():
    old, new = cache() / ".x.aaaa", cache() / ".x.bbbb"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    fill("x", stripe, 3, 4, title="")
    assert left_over() == [".x.bbbb", "x"]


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """A disk of 256 kB as the cache's home."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.name == "nt" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    monkeypatch.setenv("DOMAINCLIP_HOME", str(disk))
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def noise(row):
    return np.random.default_rng(row).integers(0, 255, (64, 64, 3), dtype=np.uint8), {}


@pytest.mark.parametrize("reserved", [True, False])
def test_a_full_disk_is_named_and_left_as_it_was(small_disk, monkeypatch, reserved):
    if not reserved:  # as on systems that cannot reserve space: the disk is full half-way
        monkeypatch.delattr("os.posix_fallocate")
    with pytest.raises(DataError, match="the disk is full") as caught:
        fill("x", noise, 200, 64, title="")
    assert str(small_disk / "pictures") in caught.value.message
    assert "DOMAINCLIP_HOME" in caught.value.hint
    assert left_over() == []
    assert len(fill("y", noise, 10, 64, title="")) == 10  # what fits still goes


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_without_one(monkeypatch, code):
    def full(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(packed, "_reserve", full)
    with pytest.raises(DataError, match="the disk is full"):
        fill("x", stripe, 5, 4, title="")
    assert left_over() == []


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
def test_no_write_permission_is_named(tmp_path, monkeypatch):
    home = tmp_path / "locked"
    home.mkdir(mode=0o555)
    monkeypatch.setenv("DOMAINCLIP_HOME", str(home))
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)  # permissions do not bind root
    try:
        with pytest.raises(DataError, match="no permission to write") as caught:
            fill("x", stripe, 5, 4, title="")
    finally:
        if root:
            os.seteuid(0)
    assert str(home / "pictures") in caught.value.message
    assert "DOMAINCLIP_HOME" in caught.value.hint
    assert list(home.iterdir()) == []


def test_a_file_where_the_folder_should_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DOMAINCLIP_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match="no permission to write"):
        fill("x", stripe, 5, 4, title="")


def test_fingerprints_differ_with_every_part():
    said = {fingerprint(*parts) for parts in (("a", "b"), ("ab",), ("a", ["b"]), ("b", "a"), ())}
    assert len(said) == 5
    assert fingerprint({"x": 1, "y": 2}) == fingerprint({"y": 2, "x": 1})
