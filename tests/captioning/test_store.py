"""The store of captions: whatever kills a writer, each sample is there once and none is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pyarrow.parquet as pq
import pytest

from domainclip.captioning import store as module
from domainclip.captioning.store import CaptionStore, name_generation, parse_shard
from domainclip.data.captions import caption_files, list_generations, read_captions, read_rows
from domainclip.errors import DataError, DomainclipError, UsageError

MADE = {"captioner": "bank", "model": "", "prompt": "one"}


def fill(store, ids, caption="said"):
    for one in ids:
        store.append({"sample_id": one, "caption": caption, "written": caption, "checks": [1]})


def stored(folder):
    """Every row of the newest generation: id -> how often."""
    files = caption_files(list_generations(folder)[0].folder)
    return Counter(one for batch in read_rows(files, ("sample_id",)) for one in batch["sample_id"])


def left(store, ids):
    rows, done = store.left(ids)
    return [ids[i] for i in rows], done


def test_rows_are_readable_at_once_and_become_a_part(tmp_path):
    with CaptionStore(tmp_path, MADE) as store:
        fill(store, ["a", "b"])
        assert read_captions([tmp_path], ["a", "b", "c"]).found == 2
        assert not list(store.folder.glob("*.parquet"))
    (part,) = store.folder.glob("*.parquet")
    rows = pq.read_table(part).to_pylist()
    assert [r["sample_id"] for r in rows] == ["a", "b"]
    assert rows[0]["checks"] == "[1]" and rows[0]["generation"] == store.generation
    assert rows[0]["time"] < rows[1]["time"]
    assert (store.folder / "journal-1-of-1.jsonl").read_bytes() == b""


def test_a_second_run_has_only_the_rest_to_do(tmp_path):
    ids = [f"s{i}" for i in range(10)]
    with CaptionStore(tmp_path, MADE) as store:
        assert left(store, ids) == (ids, 0)
        fill(store, ids[:6])
    with CaptionStore(tmp_path, MADE) as store:
        assert left(store, ids) == (ids[6:], 6)


def test_a_long_journal_becomes_a_part_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 3)
    store = CaptionStore(tmp_path, MADE)
    fill(store, list("abcdefgh"))
    assert len(list(store.folder.glob("part-*.parquet"))) == 2
    store.close()
    assert stored(tmp_path) == Counter("abcdefgh")


def test_a_torn_last_line_is_cut_and_done_again(tmp_path):
    store = CaptionStore(tmp_path, MADE)
    fill(store, ["a", "b"])
    store._journal.close()
    store._lock.close()  # as a kill leaves it
    journal = store.folder / "journal-1-of-1.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])
    with CaptionStore(tmp_path, MADE) as again:
        assert left(again, ["a", "b"]) == (["b"], 1)
        fill(again, ["b"])
    assert stored(tmp_path) == Counter("ab")


def test_a_kill_between_part_and_journal_leaves_no_duplicate(tmp_path, monkeypatch):
    store = CaptionStore(tmp_path, MADE)
    fill(store, ["a", "b"])
    monkeypatch.setattr(store._journal, "clear", lambda: None)  # killed just before
    store.close()
    assert stored(tmp_path) == Counter("aabb")
    assert read_captions([tmp_path], ["a", "b"]).found == 2
    with CaptionStore(tmp_path, MADE) as again:
        assert left(again, ["a", "b", "c"]) == (["c"], 2)
        fill(again, ["c"])
    assert stored(tmp_path) == Counter("abc")


def test_a_kill_while_a_part_is_written_leaves_the_journal(tmp_path, monkeypatch):
    store = CaptionStore(tmp_path, MADE)
    fill(store, ["a"])

    def dies(table, file, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(module.pq, "write_table", dies)
    with pytest.raises(KeyboardInterrupt):
        store.close()
    monkeypatch.undo()
    assert stored(tmp_path) == Counter("a")
    with CaptionStore(tmp_path, MADE) as again:
        assert not list(again.folder.glob(".*tmp"))
        assert left(again, ["a"]) == ([], 1)


def test_a_corrupt_part_is_set_aside_and_its_samples_are_done_again(tmp_path):
    with CaptionStore(tmp_path, MADE) as store:
        fill(store, ["a", "b"])
    with CaptionStore(tmp_path, MADE) as store:
        fill(store, ["c"])
    first = min(store.folder.glob("*.parquet"))
    data = bytearray(first.read_bytes())
    at = data.index(b"PAR1") + 40
    data[at : at + 8] = b"\xff" * 8  # inside the first page, the footer whole
    first.write_bytes(data)
    with CaptionStore(tmp_path, MADE) as again:
        assert left(again, ["a", "b", "c"]) == (["a", "b"], 1)
        assert "is corrupt; set aside" in again.messages[0]
        fill(again, ["a", "b"])
    assert first.with_name(first.name + ".bad").exists()
    assert stored(tmp_path) == Counter("abc")


def test_two_writers_are_refused_by_name(tmp_path):
    with CaptionStore(tmp_path, MADE):
        with pytest.raises(UsageError, match=f"written by process {os.getpid()} on") as error:
            CaptionStore(tmp_path, MADE)
        assert "--shard" in error.value.hint
        with pytest.raises(UsageError, match="written by process"):
            CaptionStore(tmp_path, MADE, (1, 2))  # its samples are among those of 1/1
        CaptionStore(tmp_path, MADE | {"prompt": "two"}).close()
    CaptionStore(tmp_path, MADE, (1, 2)).close()


def test_shards_share_the_work_and_see_what_is_done(tmp_path):
    ids = [f"s{i}" for i in range(300)]
    with CaptionStore(tmp_path, MADE) as store:
        fill(store, ids[:100])
    with CaptionStore(tmp_path, MADE, (1, 3)) as one, CaptionStore(tmp_path, MADE, (2, 3)) as two:
        (mine, done), (theirs, _) = left(one, ids), left(two, ids)
        assert not set(mine) & set(theirs) and not set(mine) & set(ids[:100])
        assert 40 < len(mine) < 95 and 15 < done < 55
        fill(one, mine)
        fill(two, theirs)
    with CaptionStore(tmp_path, MADE, (3, 3)) as three:
        fill(three, left(three, ids)[0])
    assert stored(tmp_path) == Counter(ids)


def test_anything_changed_is_a_generation_beside_the_old_one(tmp_path):
    with CaptionStore(tmp_path, MADE) as store:
        fill(store, ["a"], "old")
    with CaptionStore(tmp_path, MADE | {"prompt": "two"}) as other:
        assert left(other, ["a"]) == (["a"], 0)
        fill(other, ["a"], "new")
    assert store.folder != other.folder and store.folder.exists()
    read = read_captions([tmp_path], ["a"])
    assert read.captions == [("new",)] and store.generation in read.messages[0]
    about = json.loads((other.folder / "generation.json").read_text())
    assert about["made_of"]["prompt"] == "two" and about["columns"]["caption"]
    CaptionStore(tmp_path, MADE).close()  # taken up again: it is the newest now
    assert read_captions([tmp_path], ["a"]).captions == [("old",)]


def test_the_name_of_a_generation_depends_on_all_it_is_made_of():
    assert name_generation(MADE) == name_generation(dict(reversed(MADE.items())))
    assert name_generation(MADE) != name_generation(MADE | {"prompt": "two"})
    assert name_generation(MADE).startswith("bank-")


def test_rejected_samples_are_done_unless_asked_for_again(tmp_path):
    with CaptionStore(tmp_path, MADE) as store:
        fill(store, ["a", "b"])
        fill(store, ["c"], "")
    with CaptionStore(tmp_path, MADE) as store:
        assert left(store, ["a", "b", "c"]) == ([], 3)
    with CaptionStore(tmp_path, MADE, retry=True) as store:
        assert left(store, ["a", "b", "c"]) == (["c"], 2)
        assert (store.tries("c"), store.tries("a")) == (1, 0)
        fill(store, ["c"], "better")
    with CaptionStore(tmp_path, MADE, retry=True) as store:
        assert left(store, ["a", "b", "c"]) == ([], 3)
    assert read_captions([tmp_path], ["c"]).captions == [("better",)]


def test_texts_that_cannot_be_encoded_do_no_harm(tmp_path):
    with CaptionStore(tmp_path, MADE) as store:
        fill(store, ["a"], 'lone \udc80 surrogate, "quotes"\nand a new line')
    (caption,) = read_captions([tmp_path], ["a"]).captions[0]
    assert caption == 'lone ? surrogate, "quotes"\nand a new line'
    with CaptionStore(tmp_path, MADE) as store, pytest.raises(ValueError, match="captoin"):
        store.append({"sample_id": "a", "captoin": "x"})


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        CaptionStore(tmp_path / "file", MADE)


@pytest.mark.parametrize("text", ["2", "0/2", "3/2", "a/b", "-1/2"])
def test_a_wrong_shard_is_wrong_use(text):
    with pytest.raises(DomainclipError) as error:
        parse_shard(text)
    assert error.value.exit_code == 2
    assert parse_shard("2/3") == (2, 3)


WRITER = """
import sys
from domainclip.captioning import store as module
module.ROWS = 7
ids = [f"s{i}" for i in range(400)]
with module.CaptionStore(sys.argv[1], {"captioner": "bank"}) as store:
    print("began", flush=True)
    for i in store.left(ids)[0]:
        store.append({"sample_id": ids[i], "caption": "said " * 50})
        print(ids[i], flush=True)
"""


def test_killed_at_any_moment_every_sample_is_there_once(tmp_path):
    said = Counter()
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    for attempt in range(8):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            writer.stdout.readline()
            if attempt < 7:
                time.sleep(0.01 * attempt)
                writer.send_signal(signal.SIGKILL)
            said.update(line.strip() for line in writer.stdout if line.endswith("\n"))
    assert stored(tmp_path) == Counter(f"s{i}" for i in range(400))
    assert set(said.values()) == {1} and len(said) <= 400
