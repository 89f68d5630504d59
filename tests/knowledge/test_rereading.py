"""A model reads stored texts again: whole labels, once each, and can be stopped."""

import json
from collections.abc import Iterable, Iterator

import pytest

from domainclip.domains.registry import get_domain
from domainclip.endpoints.questions import Question, Reply
from domainclip.errors import DomainclipError
from domainclip.knowledge.lexicon import Lexicon
from domainclip.knowledge.records import Answer, Record, Trait
from domainclip.knowledge.rereading import reread
from domainclip.knowledge.store import KnowledgeStore

SENTENCE = "The wings are orange with black veins."


@pytest.fixture(scope="module")
def lexicon():
    return Lexicon(get_domain("biology").knowledge.words())


@pytest.fixture
def store(tmp_path):
    with KnowledgeStore(tmp_path / "a.sqlite") as store:
        yield store


class Scripted:
    """Answers every question with one statement, until it goes down."""

    def __init__(self, down_after: int = 10**9) -> None:
        self.asked: list[str] = []
        self.down_after = down_after

    def ask_many(self, questions: Iterable[Question]) -> Iterator[Reply]:
        for question in questions:
            if len(self.asked) >= self.down_after:
                raise DomainclipError("no endpoint answers")
            self.asked.append(question.messages[0]["content"])
            text = json.dumps([{"sentence": SENTENCE, "trait": "orange wings"}])
            yield Reply(id=question.id, text=text)


def put(store, name, *texts, provider="wikipedia", traits=()):
    label = ("Animalia", name)
    records = tuple(
        Record(label=label, subject=label, source="wikipedia", text=text, traits=traits)
        for text in texts
    )
    store.put(provider, label, Answer("found", records))
    return label


def words_of(store, label):
    return [[trait.text for trait in record.traits] for record in store.own(label)]


def test_traits_of_the_model_take_the_place_of_those_found_before(store, lexicon):
    old = (Trait(text="old", sentence="old", source="wikipedia"),)
    label = put(store, "A", f"One. {SENTENCE}", f"Two. {SENTENCE}", traits=old)
    told = reread([label], store, Scripted(), lexicon, model="m")
    assert (told.by_model, told.by_words, told.skipped) == (2, 0, 0)
    assert words_of(store, label) == [["orange wings"]] * 2
    assert store.status("traits:m", label) == "found"


def test_what_a_model_has_read_is_not_read_again_until_its_text_changes(store, lexicon):
    label = put(store, "A", SENTENCE)
    reread([label], store, Scripted(), lexicon, model="m")
    again = Scripted()
    steps = []
    told = reread([label], store, again, lexicon, model="m", progress=steps.append)
    assert (told.skipped, again.asked, sum(steps)) == (1, [], 1)
    assert words_of(store, label) == [["orange wings"]]
    assert reread([label], store, again, lexicon, model="another").by_model == 1
    assert reread([label], store, again, lexicon, model="m", again=True).by_model == 1


def test_what_was_read_before_the_endpoints_went_down_is_kept(store, lexicon):
    labels = [put(store, name, SENTENCE) for name in "ABC"]
    with pytest.raises(DomainclipError):
        reread(labels, store, Scripted(down_after=2), lexicon, model="m")
    kept = [label for label in labels if words_of(store, label) == [["orange wings"]]]
    assert len(kept) == 2
    told = reread(labels, store, Scripted(), lexicon, model="m")
    assert (told.skipped, told.by_model) == (2, 1)


def test_traits_that_came_with_a_record_stay(store, lexicon):
    own = (Trait(text="a blue tail", sentence="a blue tail", source="facts.csv"),)
    label = put(store, "A", SENTENCE, provider="table:facts.csv", traits=own)
    put(store, "A", f"More. {SENTENCE}")
    told = reread([label], store, Scripted(), lexicon, model="m")
    assert told.by_model == 1
    assert sorted(words_of(store, label)) == [["a blue tail"], ["orange wings"]]


def test_two_equal_texts_are_asked_about_once(store, lexicon):
    label = put(store, "A", SENTENCE, SENTENCE)
    asker = Scripted()
    reread([label], store, asker, lexicon, model="m")
    assert len(asker.asked) == 1 and words_of(store, label) == [["orange wings"]] * 2


def test_texts_that_change_meanwhile_keep_their_own_traits(store):
    label = put(store, "A", "One.")
    before = store.own(label)
    put(store, "A", "Two.")
    assert not store.put_traits(label, before, "traits:m")
    assert store.status("traits:m", label) is None
