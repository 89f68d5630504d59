"""The store: nothing half written, many readers, and a damaged file that takes nothing with it."""

import multiprocessing
import sqlite3
import time

import pytest

from domainclip.errors import DataError, UsageError
from domainclip.knowledge.records import Answer, Record, Trait
from domainclip.knowledge.store import KnowledgeStore

CAT = ("Animalia", "", "Felis catus")
DOG = ("Animalia", "", "Canis familiaris")


def record(label, text="Grey fur.", traits=(), **more):
    return Record(label=label, subject=label, source="wikipedia", text=text, traits=traits, **more)


def trait(text):
    return Trait(text=text, sentence=f"It has {text}.", source="wikipedia", revision="7")


def found(label, *texts):
    return Answer("found", tuple(record(label, text) for text in texts), "by its title")


def test_what_is_put_comes_back_whole(tmp_path):
    one = record(
        CAT,
        "Grau gefärbt.",
        (trait("grey fur"), trait("a long tail")),
        title="Cat",
        section="Description",
        url="https://example.org/Cat",
        revision="7",
        licence="CC BY-SA 4.0",
        fetched="2026-01-02T03:04:05+00:00",
    )
    with KnowledgeStore(tmp_path / "deep/er/a.sqlite") as store:
        store.put("wikipedia", CAT, Answer("found", (one, record(CAT, "Second.")), "by its title"))
    with KnowledgeStore(tmp_path / "deep/er/a.sqlite") as store:
        first, second = store.own(CAT)
        assert first == one
        assert (second.text, second.traits) == ("Second.", ())
        assert second.fetched.endswith("+00:00")  # the time of writing, where the record has none
        (asked,) = store.asked(CAT)
        assert (asked.provider, asked.status, asked.reason) == (
            "wikipedia", "found", "by its title"
        )  # fmt: skip
        assert not store.messages


def test_a_provider_is_forgotten_whole_and_alone(tmp_path):
    with KnowledgeStore(tmp_path / "a.sqlite") as store:
        store.put("wikipedia", CAT, Answer("found", (record(CAT, "A.", (trait("fur"),)),)))
        store.put("wikipedia", DOG, Answer("missing"))
        store.put("table:x.csv", CAT, found(CAT, "B."))
        assert [told[:4] for told in store.sources()] == [
            ("table:x.csv", 1, 0, 0), ("wikipedia", 1, 1, 0)
        ]  # fmt: skip
        assert store.put_traits(CAT, store.own(CAT), "traits:m")
        assert [told.provider for told in store.sources()] == ["table:x.csv", "wikipedia"]
        assert store.forget("wikipedia") == 2
        assert store.labels() == [("Animalia", "", "Felis catus")] and store.named(DOG[-1]) == []
        assert [r.text for r in store.own(CAT)] == ["B."]
        assert store.status("traits:m", CAT) == "found"  # it has read what is left
        assert store.forget("wikipedia") == 0
        assert store.forget("table:x.csv") == 1
        assert store.labels() == [] and store.sources() == () and store.asked(CAT) == ()
    with sqlite3.connect(tmp_path / "a.sqlite") as db:
        assert db.execute("SELECT count(*) FROM traits").fetchone() == (0,)


def test_each_provider_has_its_own_status_and_records(tmp_path):
    with KnowledgeStore(tmp_path / "a.sqlite") as store:
        store.put("wikipedia", CAT, found(CAT, "A."))
        store.put("table:x.csv", CAT, Answer("refused", (), "another animal"))
        store.put("wikipedia", DOG, Answer("missing"))
        assert store.status("wikipedia", CAT) == "found"
        assert store.status("table:x.csv", CAT) == "refused"
        assert store.status("table:x.csv", DOG) is None
        assert store.labels() == [CAT, DOG]
        assert store.labels("wikipedia", "missing") == [DOG]
        assert store.labels("table:x.csv") == [CAT]
        assert store.own(DOG) == ()


def test_a_new_answer_takes_the_place_of_the_old_one(tmp_path):
    with KnowledgeStore(tmp_path / "a.sqlite") as store:
        store.put("wikipedia", CAT, Answer("found", (record(CAT, "Old.", (trait("fur"),)),)))
        store.put("table", CAT, found(CAT, "Mine."))
        store.put("wikipedia", CAT, found(CAT, "New."))
        assert sorted(r.text for r in store.own(CAT)) == ["Mine.", "New."]
    with sqlite3.connect(tmp_path / "a.sqlite") as db:
        assert db.execute("SELECT count(*) FROM traits").fetchone() == (0,)


def test_homonyms_and_missing_ranks_are_different_labels(tmp_path):
    plant, bird = ("Plantae", "Morus"), ("Animalia", "Morus")
    with KnowledgeStore(tmp_path / "a.sqlite") as store:
        store.put("w", plant, found(plant, "A tree."))
        store.put("w", bird, found(bird, "A bird."))
        assert [r.text for r in store.own(plant)] == ["A tree."]
        assert store.named("MORUS") == [plant, bird]
        assert store.own(("Morus",)) == ()
        assert store.own(("", "Morus")) == ()


def test_an_answer_is_put_whole_or_not_at_all(tmp_path):
    with KnowledgeStore(tmp_path / "a.sqlite") as store:
        store.put("w", CAT, found(CAT, "Old."))
        bad = Answer("found", (record(CAT, "New."), record(CAT, object())))
        with pytest.raises(DataError):
            store.put("w", CAT, bad)
        assert [r.text for r in store.own(CAT)] == ["Old."]
        store.put("w", CAT, found(CAT, "Newer."))
        assert [r.text for r in store.own(CAT)] == ["Newer."]


def test_reading_what_is_not_there_makes_nothing(tmp_path):
    with KnowledgeStore(tmp_path / "none.sqlite", readonly=True) as store:
        assert store.own(CAT) == () and store.labels() == []
    assert list(tmp_path.iterdir()) == []


def test_a_reader_cannot_write(tmp_path):
    KnowledgeStore(tmp_path / "a.sqlite").close()
    with (
        KnowledgeStore(tmp_path / "a.sqlite", readonly=True) as store,
        pytest.raises(DataError, match="readonly"),
    ):
        store.put("w", CAT, found(CAT, "A."))


def test_a_damaged_file_is_set_aside_with_its_log(tmp_path):
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"no database " * 500)
    (tmp_path / "a.sqlite-wal").write_bytes(b"its log")
    (tmp_path / "notes.txt").write_text("mine")
    with KnowledgeStore(path) as store:
        (message,) = store.messages
        assert str(path) in message and "a.sqlite.bad" in message
        store.put("w", CAT, found(CAT, "A."))
        assert len(store.own(CAT)) == 1
    assert (tmp_path / "a.sqlite.bad").read_bytes() == b"no database " * 500
    assert (tmp_path / "a.sqlite.bad-wal").read_bytes() == b"its log"
    assert (tmp_path / "notes.txt").read_text() == "mine"
    path.write_bytes(b"again")
    with KnowledgeStore(path, readonly=True) as store:  # the first one set aside is not lost
        assert "a.sqlite.2.bad" in store.messages[0] and store.labels() == []
    assert (tmp_path / "a.sqlite.bad").read_bytes() == b"no database " * 500


def test_a_file_cut_off_is_damaged(tmp_path):
    path = tmp_path / "a.sqlite"
    with KnowledgeStore(path) as store:
        for i in range(50):
            store.put("w", ("x", str(i)), found(("x", str(i)), "long " * 400))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with KnowledgeStore(path) as store:
        assert "damaged" in store.messages[0] and store.labels() == []
    assert (tmp_path / "a.sqlite.bad").stat().st_size == len(whole) // 2


def test_damage_found_while_reading_is_said(tmp_path):
    path = tmp_path / "a.sqlite"
    with KnowledgeStore(path) as store:
        for i in range(50):
            store.put("w", ("x", str(i)), found(("x", str(i)), "long " * 400))
    whole = bytearray(path.read_bytes())
    whole[8192:] = b"\xff" * len(whole[8192:])  # the first pages stay, so that it opens
    path.write_bytes(whole)
    with (
        KnowledgeStore(path, readonly=True) as store,
        pytest.raises(DataError, match=r"set aside as .*bad") as error,
    ):
        for i in range(50):
            store.own(("x", str(i)))
    assert "again" in error.value.hint
    assert (tmp_path / "a.sqlite.bad").exists() and not path.exists()


def test_a_store_that_has_been_replaced_is_left_alone(tmp_path):
    path = tmp_path / "a.sqlite"
    with KnowledgeStore(path) as store:
        for i in range(50):
            store.put("w", ("x", str(i)), found(("x", str(i)), "long " * 400))
    whole = bytearray(path.read_bytes())
    whole[8192:] = b"\xff" * len(whole[8192:])
    path.write_bytes(whole)
    # the second one finds the damage first
    with KnowledgeStore(path, readonly=True) as late, KnowledgeStore(path) as other:
        other.put("w", CAT, found(CAT, "New."))
        with pytest.raises(DataError):
            for i in range(50):
                late.own(("x", str(i)))
        assert [r.text for r in other.own(CAT)] == ["New."]
    with KnowledgeStore(path) as store:
        assert not store.messages and store.labels() == [CAT]


@pytest.mark.parametrize("name", ["labels.csv", "notes"])
def test_a_file_that_is_no_store_is_refused_and_stays(tmp_path, name):
    (tmp_path / name).write_text("name\ncat\n" * 100)
    with pytest.raises(UsageError, match="no store"):
        KnowledgeStore(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_another_programs_database_and_a_later_version_are_refused(tmp_path):
    path = tmp_path / "a.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.raises(UsageError, match="another program's"):
        KnowledgeStore(path)
    later = tmp_path / "b.sqlite"
    KnowledgeStore(later).close()
    with sqlite3.connect(later) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(UsageError, match="version 99"):
        KnowledgeStore(later, readonly=True)
    assert {p.name for p in tmp_path.iterdir()} >= {"a.sqlite", "b.sqlite"}


def test_an_empty_file_becomes_a_store(tmp_path):
    path = tmp_path / "a.sqlite"
    path.touch()
    with KnowledgeStore(path, readonly=True) as store:
        assert store.labels() == []
    with KnowledgeStore(path) as store:
        store.put("w", CAT, found(CAT, "A."))
    with KnowledgeStore(path) as store:
        assert store.labels() == [CAT] and not store.messages


def read_on(path, stop, told):
    """Read until told to stop; tell how many labels were seen, or what was half there."""
    most = 0
    with KnowledgeStore(path, readonly=True) as store:
        while True:
            last = stop.is_set()
            for label in store.labels():
                if len(store.own(label)) != 3:
                    told.put(f"{label} is half there")
                    return
                most = max(most, int(label[-1]) + 1)
            if last:
                told.put(most)
                return
            time.sleep(0.002)


def test_two_processes_read_while_one_writes(tmp_path):
    path = tmp_path / "a.sqlite"
    context = multiprocessing.get_context("fork")
    stop, told = context.Event(), context.Queue()
    KnowledgeStore(path).close()
    readers = [context.Process(target=read_on, args=(path, stop, told)) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        with KnowledgeStore(path) as store:
            for i in range(60):
                label = ("x", str(i))
                store.put("w", label, found(label, "one", "two", "three"))
            stop.set()
            seen = [told.get(timeout=30) for _ in readers]
    finally:
        stop.set()
        for reader in readers:
            reader.join(30)
    assert seen == [60, 60]
