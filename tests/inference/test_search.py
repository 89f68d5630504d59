"""Search: the vector of a query, how it is answered, and what an index holds."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.nn import functional

from domainclip.data.images import UnreadableImage
from domainclip.errors import DataError, UsageError
from domainclip.inference.embed import embed_pictures
from domainclip.inference.embeddings import open_embeddings
from domainclip.inference.encoding import Encoder
from domainclip.inference.origin import Origin
from domainclip.inference.pictures import Crop
from domainclip.inference.search import build, planning, store
from domainclip.inference.search.build import index_pictures, index_vectors
from domainclip.inference.search.index import SearchIndex
from domainclip.inference.search.planning import FEW, LEAST, count_partitions, plan
from domainclip.inference.search.query import compose
from domainclip.inference.search.sheet import write_sheet
from domainclip.model.clip import DomainClip, Preprocess

COLOURS = {"red": (1.0, 0, 0), "green": (0, 1.0, 0), "blue": (0, 0, 1.0)}
ORIGIN = Origin("runs/first", "a" * 32, "captions", 16)


class ColourClip(DomainClip):
    """Sees the mean colour of a picture and reads the colour words of a text."""

    def __init__(self):
        nn.Module.__init__(self)
        self.held, self.config = (), {"embed_dim": 3}
        self.preprocess = Preprocess(size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.heads = nn.ModuleDict({"names": nn.Identity(), "captions": nn.Identity()})
        self.weight = nn.Parameter(torch.zeros(1))
        self.heads_used = set()

    def tokenize(self, texts, head="names"):
        self.heads_used.add(head)
        found = [[COLOURS[w] for w in t.lower().split() if w in COLOURS] for t in texts]
        return torch.tensor(np.array([np.sum(f, 0) if f else (0.01,) * 3 for f in found])).float()

    def encode_text(self, tokens, normalize=True):
        return functional.normalize(tokens, dim=-1) if normalize else tokens

    def encode_image(self, pixels, head="names", normalize=True):
        self.heads_used.add(head)
        return functional.normalize(pixels.mean((2, 3)), dim=-1)


@pytest.fixture
def encoder():
    return Encoder(ColourClip(), device="cpu", batch_size=2)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    shades = {"red": (250, 9, 9), "green": (9, 250, 9), "blue": (9, 9, 250), "teal": (9, 170, 170),
              "purple": (170, 9, 170)}  # fmt: skip
    for name, colour in shades.items():
        Image.new("RGB", (24, 16), colour).save(folder / f"{name}.png")
    return folder


def files(photos):
    return sorted(map(str, photos.glob("*.png")))


def names(matches):
    return [match.file_name.rpartition("/")[2].removesuffix(".png") for match in matches]


def made_up(rows, seed=0, dim=16, clusters=40):
    random = np.random.default_rng(seed)
    cluster = random.integers(0, clusters, rows)
    centres = np.random.default_rng(99).standard_normal((clusters, dim))
    vectors = centres[cluster] + 0.5 * random.standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), cluster


def as_table(vectors, cluster, start=0, origin=ORIGIN):
    rows = origin.rows([f"{start + i}" for i in range(len(vectors))], vectors)
    number = np.random.default_rng(start).integers(0, 1000, len(vectors))
    return rows.append_column("cluster", pa.array(cluster)).append_column("n", pa.array(number))


# The vector of a query


def test_queries_are_composed_as_they_are_said():
    x, y, z = np.eye(3, dtype=np.float32)
    assert compose(None, y).tolist() == y.tolist()
    assert compose(x, None).tolist() == x.tolist()
    assert compose(x, y) == pytest.approx((x + y) / 2**0.5)
    assert compose(x, y, weight=0) == pytest.approx(x)
    assert compose(x, y, weight=1) == pytest.approx(y)
    assert compose(x, y, weight=0.75) == pytest.approx((x + 3 * y) / 10**0.5)
    # Couairon et al. with lambda 1
    assert compose(x, y, z) == pytest.approx((x + y - z) / 3**0.5)
    assert compose(None, y, z) == pytest.approx((y - z) / 2**0.5)
    assert compose(x, None, z, 0.75) == pytest.approx((x - 3 * z) / 10**0.5)


@given(st.lists(st.integers(-3, 3), min_size=9, max_size=9), st.integers(0, 8))
def test_a_composed_query_has_length_one(numbers, eighths):
    vectors = np.array(numbers, dtype=np.float32).reshape(3, 3)
    vectors += np.float32(0.1) * (np.abs(vectors).sum(1, keepdims=True) == 0)
    picture, text, minus = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    try:
        query = compose(picture, text, minus, eighths / 8)
    except UsageError as error:
        assert "cancel out" in error.message
        return
    assert np.linalg.norm(query) == pytest.approx(1, abs=1e-5)


def test_nothing_to_look_for_is_told():
    x = np.eye(3, dtype=np.float32)[0]
    for asked in ((None, None), (None, None, x)):
        with pytest.raises(UsageError, match="nothing to look for"):
            compose(*asked)
    with pytest.raises(UsageError, match="cancel out"):
        compose(None, x, x)
    with pytest.raises(UsageError, match=r"weight 1\.5"):
        compose(x, x, weight=1.5)


# How it is answered


def test_how_much_is_searched_follows_from_what_the_filter_keeps():
    million, parts = 1_000_000, 1024
    chosen = [
        plan(million, int(kept * million), parts, of_pictures=True).partitions
        for kept in (1, 0.99, 0.9, 0.75, 0.5, 0.1, 0.01, 0.002, 0.0001)
    ]
    assert chosen == [103, 103, 205, 512, 1024, 1024, 1024, None, None]
    assert plan(million, million, parts, of_pictures=False).partitions == parts
    assert plan(million, million, parts, of_pictures=True, exact=True).partitions is None
    assert plan(200_000, 200_000, 447, of_pictures=True).partitions == 224
    assert plan(60_000, 60_000, 245, of_pictures=True).partitions == 245
    small = plan(100, 7, 0, of_pictures=True)
    assert small.partitions is None and small.said == "exact search of 7 of 100 pictures"


@given(st.integers(1, 10**7), st.floats(0, 1), st.integers(1, 4096))
def test_a_filter_never_lessens_the_search(rows, share, parts):
    kept = int(share * rows)
    some = plan(rows, kept, parts, of_pictures=True).partitions
    every = plan(rows, rows, parts, of_pictures=True).partitions
    assert some is None or (rows > FEW and LEAST * parts <= every <= some <= parts)


def test_partitions_are_about_the_root_of_the_rows():
    assert [count_partitions(n) for n in (50_000, 10**6, 10**7)] == [224, 1000, 3162]


# What an index holds


@pytest.fixture
def small(tmp_path):
    vectors, cluster = made_up(300)
    rows = as_table(vectors, cluster)
    index_vectors(tmp_path / "index", ORIGIN, [rows[:100], rows[100:]])
    return SearchIndex.open(tmp_path / "index"), vectors, rows


@pytest.mark.parametrize("where", [None, "n < 500", "cluster = 3 OR n > 900"])
def test_a_small_index_answers_as_a_matrix_product_does(small, where):
    index, vectors, rows = small
    n, cluster = rows["n"].to_numpy(), rows["cluster"].to_numpy()
    kept = {None: n >= 0, "n < 500": n < 500}.get(where, (cluster == 3) | (n > 900))
    for query in made_up(5, seed=1)[0]:
        scores = np.where(kept, vectors @ query, -2)
        best = np.argsort(-scores)[:7]
        found = index.search(vector=query, where=where, k=7)
        assert [int(match.file_name) for match in found] == best.tolist()
        assert [match.score for match in found] == pytest.approx(scores[best], abs=1e-5)
        assert [match.rank for match in found] == list(range(1, 8))
        assert [match.metadata["n"] for match in found] == n[best].tolist()
    assert found.how == f"exact search of {kept.sum()} of 300 pictures"


def test_asking_for_more_than_there_is(small):
    index, *_ = small
    query = made_up(1, seed=1)[0][0]
    assert len(index.search(vector=query, k=1000)) == 300
    few = index.search(vector=query, where="file_name IN ('3', '5')")
    assert {match.file_name for match in few} == {"3", "5"}
    assert list(index.search(vector=query, where="n < 0")) == []


@pytest.mark.parametrize(
    ("where", "said", "hint"),
    [
        ("clustr = 3", "No field named clustr", "did you mean 'cluster'?; columns: file_name (te"),
        ('file_name = "b"', "No field named b", "texts stand in single quotes: 'b'; columns:"),
        ("n > 'x'", "could not convert", "columns: file_name (text), cluster (whole number), n"),
        ("n >", "Expected: an expression", "columns: "),
        ("", "Expected: an expression", "columns: "),
        ("n", "does not return a boolean", "columns: "),
    ],
)
def test_a_wrong_condition_tells_the_columns(small, where, said, hint):
    with pytest.raises(UsageError) as refused:
        small[0].search(vector=np.ones(16), where=where)
    assert said in refused.value.message and repr(where) in refused.value.message
    assert refused.value.hint.startswith(hint)
    assert "/root" not in refused.value.message and "lance" not in refused.value.message


def test_a_wrong_vector_is_told(small):
    for vector in (np.ones(3), np.zeros(16), np.full(16, np.nan)):
        with pytest.raises(UsageError, match="has no direction among those of 16"):
            small[0].search(vector=vector)
    with pytest.raises(UsageError, match="k = 0"):
        small[0].search(vector=np.ones(16), k=0)


@pytest.fixture
def large(tmp_path, monkeypatch):
    """An index with partitions, of far fewer rows than one would have."""
    for module in (store, build):
        monkeypatch.setattr(module, "LARGE", 3000)
    monkeypatch.setattr(planning, "FEW", 50)
    monkeypatch.setattr(planning, "SURE", 0)
    vectors, cluster = made_up(4000)
    told = []
    index_vectors(tmp_path / "i", ORIGIN, [as_table(vectors, cluster)], tell=told.append)
    assert told == ["building the index of 4,000 vectors"]
    return SearchIndex.open(tmp_path / "i"), vectors, cluster


def recall(index, vectors, kept, where, exact=False):
    hits = 0
    for query in made_up(20, seed=7)[0]:
        best = np.argsort(-np.where(kept, vectors @ query, -2))[:10]
        found = index.search(vector=query, where=where, exact=exact)
        hits += len({int(match.file_name) for match in found} & set(best.tolist()))
    return hits / 200, found.how


def test_a_large_index_is_searched_by_partitions(large):
    index, vectors, cluster = large
    every, how = recall(index, vectors, cluster >= 0, None)
    assert how == "search of 4,000 of 4,000 pictures in 7 of 63 partitions" and every > 0.5
    far, how = recall(index, vectors, cluster < 4, "cluster < 4")
    assert "in 63 of 63 partitions" in how and far > 0.98
    assert recall(index, vectors, cluster >= 0, None, exact=True) == (
        1, "exact search of 4,000 of 4,000 pictures",
    )  # fmt: skip
    indexed = {index_.columns[0]: index_.index_type for index_ in index.store.table.list_indices()}
    assert indexed == {"embedding": "IvfSq", "cluster": "Bitmap", "n": "Bitmap"}


def test_tidying_keeps_the_partitions(large):
    """LanceDB joins partitions to a size of its own, unless it is told one."""
    store_ = large[0].store
    for start in (None, 4000, 5000):
        if start:
            index_vectors(store_.folder, ORIGIN, [as_table(*made_up(900, seed=start), start=start)])
        found = store_.table.search(np.ones(16), vector_column_name="embedding").limit(1)
        told = found.distance_type("cosine").select(["_distance"]).nprobes(1000).analyze_plan()
        assert int(re.search(r"partitions_ranked=(\d+)", told)[1]) >= 0.8 * store_.partitions


def test_rows_added_to_a_large_index_are_found(large):
    index, vectors, cluster = large
    folder = index.store.folder
    more, others = made_up(500, seed=3)
    index_vectors(folder, ORIGIN, [as_table(more, others, start=4000)])
    again = SearchIndex.open(folder)
    assert (len(again), again.store.partitions, again.store.trained) == (4500, 63, 4000)
    assert len(index) == 4500, "one that was open sees what was added"
    both, clusters = np.concatenate([vectors, more]), np.concatenate([cluster, others])
    assert recall(again, both, clusters < 4, "cluster < 4")[0] > 0.98
    query = more[17]
    assert again.search(vector=query, k=1)[0].file_name == "4017"
    many, others = made_up(4000, seed=4)
    index_vectors(folder, ORIGIN, [as_table(many, others, start=5000)])
    assert SearchIndex.open(folder).store.trained == 8500, "doubled: the index is made anew"


def test_nothing_stays_of_what_is_replaced(large):
    folder = large[0].store.folder
    for start in (4000, 5000):
        index_vectors(folder, ORIGIN, [as_table(*made_up(start, seed=start), start=start)])
    table, lance = SearchIndex.open(folder).store.table, folder / "pictures.lance"
    assert len(table) == 10_000
    fragments = table.stats()["fragment_stats"]["num_fragments"]
    assert len(list((lance / "_versions").glob("*.manifest"))) == 1
    assert len(list((lance / "data").iterdir())) == fragments
    parts = sum(index_.num_segments for index_ in table.list_indices())
    assert len(list((lance / "_indices").iterdir())) == parts


def test_the_index_is_not_trusted_before_it_is_written_down(large):
    index, vectors, cluster = large
    about = json.loads((index.store.folder / "index.json").read_text())
    (index.store.folder / "index.json").write_text(json.dumps({**about, "partitions": 0}))
    again = SearchIndex.open(index.store.folder)
    assert recall(again, vectors, cluster >= 0, None)[0] == 1


def test_vectors_of_another_model_head_or_kind_are_refused(small):
    index, _, rows = small
    folder = index.store.folder
    other = replace(ORIGIN, model="runs/other", digest="b" * 32)
    with pytest.raises(UsageError, match=r"runs/first \(aaaaaaaa\).*runs/other \(bbbbbbbb\)"):
        index_vectors(folder, other, [rows])
    with pytest.raises(UsageError, match=r"head captions.*head names"):
        index_vectors(folder, replace(ORIGIN, head="names"), [rows])
    with pytest.raises(DataError, match="of texts"):
        index_vectors(folder, replace(ORIGIN, kind="texts"), [rows])
    assert len(SearchIndex.open(folder)) == 300


def test_columns_that_the_index_lacks_or_has_otherwise_are_told(small):
    index, vectors, _ = small
    folder = index.store.folder
    new = as_table(vectors[:2], [1, 2], start=900)
    with pytest.raises(DataError, match=r"no column 'place'; its columns: cluster, n") as refused:
        index_vectors(folder, ORIGIN, [new.append_column("place", pa.array(["a", "b"]))])
    assert f"--embeddings {folder}/pictures.lance" in refused.value.hint
    words = new.set_column(new.column_names.index("n"), "n", pa.array(["one", "two"]))
    with pytest.raises(DataError, match="'n' of the index is of type int64"):
        index_vectors(folder, ORIGIN, [words])
    fewer = new.drop_columns(["cluster"])
    assert index_vectors(folder, ORIGIN, [fewer]).added == 2
    assert len(SearchIndex.open(folder).search(vector=vectors[0], where="cluster IS NULL")) == 2


def test_the_table_of_an_index_is_a_file_of_vectors_itself(small, tmp_path):
    index, vectors, _ = small
    origin, tables = open_embeddings(index.store.folder / "pictures.lance")
    assert origin == ORIGIN
    done = index_vectors(tmp_path / "again", origin, tables)
    assert done.added == 300
    found = SearchIndex.open(tmp_path / "again").search(
        vector=vectors[5], where="cluster >= 0", k=1
    )
    assert found[0].file_name == "5"


def test_vectors_without_a_direction_are_refused(tmp_path):
    vectors = made_up(3)[0]
    vectors[1] = 0
    with pytest.raises(DataError, match=r"^1: its vector"):
        index_vectors(tmp_path / "i", ORIGIN, [ORIGIN.rows(["0", "1", "2"], vectors)])


def test_folders_that_are_no_index(tmp_path, photos):
    with pytest.raises(UsageError, match="no index in") as refused:
        SearchIndex.open(tmp_path / "none")
    assert refused.value.hint.startswith("domainclip index PICTURES")
    with pytest.raises(UsageError, match=r"is no index, and holds \w+\.png"):
        index_vectors(photos, ORIGIN, [])
    assert not (photos / "lock").exists()
    (tmp_path / "index.json").write_text('{"format": 1}')
    with pytest.raises(DataError, match="no index that can be read"):
        SearchIndex.open(tmp_path)


# Pictures


def test_pictures_are_found_by_words_by_a_picture_and_by_both(tmp_path, encoder, photos):
    index = SearchIndex.build(tmp_path / "index", encoder, files(photos))
    assert encoder.network.heads_used == {"captions"}
    found = names(index.search("something blue", k=3))
    assert found[0] == "blue" and set(found[1:]) == {"teal", "purple"}
    assert names(index.search(image=photos / "red.png", k=2)) == ["red", "purple"]
    assert names(index.search("blue", image=photos / "red.png", k=1)) == ["purple"]
    changed = index.search("green", image=photos / "purple.png", minus="red", k=1)
    assert names(changed) == ["teal"]
    assert changed.asked == f"{photos / 'purple.png'} + “green” − “red”"
    assert names(index.search("blue", image=Image.new("RGB", (9, 9), "red"), weight=1, k=1)) == [
        "blue"
    ]
    with pytest.raises(UsageError, match="empty text"):
        index.search(" ")
    with pytest.raises(UnreadableImage):
        index.search(image="gone.png")


def test_a_stopped_index_can_be_searched_and_goes_on(tmp_path, encoder, photos, monkeypatch):
    monkeypatch.chdir(tmp_path)
    every = [f"photos/{path.rpartition('/')[2]}" for path in files(photos)]

    def stopping():
        yield from every[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_pictures("index", encoder, stopping())
    some = len(SearchIndex.open("index", model=encoder).search("red"))
    assert 0 < some <= 4
    done = index_pictures("index", encoder, [*files(photos), every[0], "gone.png"])
    assert (done.rows, done.added, done.known) == (5, 5 - some, some)
    assert done.unreadable == [("gone.png", "the file is missing")]
    found = SearchIndex.open("index", model=encoder).search("red")
    assert sorted(match.file_name for match in found) == files(photos), "paths from the root"


def test_boxes_have_rows_of_their_own(tmp_path, encoder, photos):
    Image.fromarray(np.hstack([np.full((8, 8, 3), c, np.uint8) for c in ((255, 0, 0), (0, 0, 255))])
                    ).save(photos / "two.png")  # fmt: skip
    boxes = [Crop(str(photos / "two.png"), x, 0, 8, 8) for x in (0, 8)]
    index = SearchIndex.build(tmp_path / "i", encoder, [*boxes, photos / "teal.png"])
    found = index.search("red", k=3)
    assert found[0].picture == boxes[0] and found[0].score == pytest.approx(1)
    assert found.rows()[0]["x"] == 0 and found.rows()[1]["x"] is None
    assert "x" not in index.search("red", where="x IS NULL").rows()[0]


def test_another_model_is_refused_naming_both(tmp_path, encoder, photos):
    SearchIndex.build(tmp_path / "i", encoder, files(photos))
    other = ColourClip()
    nn.init.ones_(other.weight)
    with pytest.raises(UsageError) as refused:
        SearchIndex.open(tmp_path / "i", model=other)
    digests = encoder.digest[:8], Encoder(other).digest[:8]
    assert all(f"a loaded model ({d})" in refused.value.message.replace(
        "a loaded model is another model", "a loaded model") for d in digests)  # fmt: skip
    with pytest.raises(UsageError, match="holds pictures by"):
        index_pictures(tmp_path / "i", Encoder(other), files(photos))


def test_a_model_that_has_moved_is_asked_for(small):
    with pytest.raises(UsageError, match="was made by runs/first: no model") as refused:
        small[0].search("a text")
    assert refused.value.hint == "--model RUN says where that model is now"


# Contact sheets


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.said = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"])

    def handle_data(self, data):
        self.said.append(data)


def test_a_contact_sheet_is_one_page_in_one_file(tmp_path, encoder, photos):
    import base64
    import io

    Image.new("RGB", (900, 300), "red").save(photos / "<wide> & red.png")
    embed_pictures(encoder, sorted(photos.glob("*")), tmp_path / "f.parquet", head="captions")
    origin, tables = open_embeddings(tmp_path / "f.parquet")
    place = ["<script>alert(1)</script>"] * 6
    rows = pa.concat_tables(tables).append_column("place", pa.array(place))
    index_vectors(tmp_path / "i", origin, [rows])
    (photos / "purple.png").unlink()
    index = SearchIndex.open(tmp_path / "i", model=encoder)
    found = index.search("<b>red</b> red", image=photos / "red.png", k=4)
    page = Page(write_sheet(found, tmp_path / "sheet.html").read_text())
    assert "script" not in page.tags and "b" not in page.tags
    said = "".join(page.said)
    for text in ("“<b>red</b> red”", "<wide> & red.png", place[0], "purple.png", "missing"):
        assert text in said
    assert said.count(place[0]) == 1, "what is the same of all stands once"
    assert found.how in said and f"{found[0].score:.3f}" in said
    assert len(page.images) == 4, "the query and all that were found but one, which is gone"
    for url in page.images:
        kind, _, data = url.partition(",")
        assert kind == "data:image/jpeg;base64"
        assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) <= 200
    assert Page(found._repr_html_()).images == page.images[1:]


def test_nothing_found_is_a_page_too(tmp_path, small):
    found = small[0].search(vector=np.ones(16), where="n < 0")
    assert "Nothing." in write_sheet(found, tmp_path / "s.html").read_text()
    with pytest.raises(DataError, match="cannot be written"):
        write_sheet(found, tmp_path / "no" / "s.html")
