"""Embedding into files: what is in them, and what a run that was stopped leaves to do."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from domainclip.errors import DataError, UsageError
from domainclip.inference.embed import embed_pictures, embed_texts
from domainclip.inference.embeddings import open_embeddings, write_embeddings
from domainclip.inference.encoding import Encoder
from domainclip.inference.origin import Origin, keys_of, say_key, vectors_of
from domainclip.inference.parts import Parts, gather
from domainclip.inference.pictures import Crop
from domainclip.model.folder import create_model, save_model

ENDINGS = (".parquet", ".npz", ".json", ".lance")


class Counting(Encoder):
    """Counts the pictures that are computed."""

    count = 0

    def encode_pixels(self, pixels, head="names"):
        self.count += len(pixels)
        return super().encode_pixels(pixels, head)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network, _ = create_model("small", image_size=32)
    with torch.no_grad():  # heads begin alike
        network.heads["captions"].weight.add_(torch.randn_like(network.heads["captions"].weight))
    folder = tmp_path_factory.mktemp("model")
    return save_model(network.eval(), folder, tree=None, card={"heads": ["names", "captions"]})


@pytest.fixture
def encoder(model):
    return Counting(model, batch_size=2)


@pytest.fixture
def photos(tmp_path):
    random = np.random.default_rng(0)
    paths = []
    for i in range(7):
        pixels = random.integers(0, 255, (4, 5, 3), np.uint8)
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(pixels).resize((50, 40)).save(paths[-1])
    return paths


def read(path):
    origin, tables = open_embeddings(path)
    table = pa.concat_tables([origin.schema().empty_table(), *tables], promote_options="default")
    return origin, keys_of(table), vectors_of(table)


def stopping(pictures, after):
    yield from pictures[:after]
    raise KeyboardInterrupt


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_holds_the_vectors_in_order_and_what_made_them(
    tmp_path, encoder, photos, ending
):
    pictures = [*photos[:2], Crop(photos[0], 3, 4.5, 20, 10), photos[2], photos[0]]
    done = embed_pictures(encoder, pictures, tmp_path / f"f{ending}", head="captions")
    assert (done.rows, done.made, done.unreadable) == (4, 4, [])
    origin, keys, vectors = read(done.output)
    assert origin == Origin(str(encoder.model), encoder.digest, "captions", 256)
    assert keys == [*photos[:2], f"{photos[0]}#xywh=3,4.5,20,10", photos[2]]
    assert np.array_equal(vectors, encoder.encode(pictures[:4], "captions"))
    assert np.abs(vectors - encoder.encode(pictures[:4], "names")).max() > 0.01
    assert not list(tmp_path.glob("*.part*")), "nothing else stays"


@pytest.mark.parametrize("ending", ENDINGS)
def test_texts_and_an_output_that_is_there(tmp_path, encoder, ending):
    path = tmp_path / f"f{ending}"
    embed_texts(encoder, ["old"], path)
    texts = ["a red beetle", "ein grüner #xywh=1,2,3,4", "a red beetle", "b"]
    assert embed_texts(encoder, iter(texts), path, head="captions").rows == 3
    origin, keys, vectors = read(path)
    assert (origin.kind, origin.head, keys) == ("texts", "captions", [texts[0], texts[1], "b"])
    expected = encoder.encode_texts([texts[0], texts[1], "b"], "captions")
    assert np.allclose(vectors, expected, atol=1e-6)


def test_json_is_that_of_pybioclip_with_the_origin_beside_it(tmp_path, encoder, photos):
    embed_pictures(encoder, photos[:2], tmp_path / "f.json")
    told = json.loads((tmp_path / "f.json").read_text())
    assert list(told) == ["model", "origin", "embeddings"]
    assert told["model"] == str(encoder.model)
    assert list(told["embeddings"]) == photos[:2]
    assert np.float32(told["embeddings"][photos[1]]).shape == (256,)


def test_parquet_columns_are_plain(tmp_path, encoder, photos):
    embed_pictures(encoder, photos[:2], tmp_path / "f.parquet")
    table = pq.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["file_name", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 256)


def test_a_stopped_run_goes_on_and_computes_nothing_twice(tmp_path, model, encoder, photos):
    output = tmp_path / "f.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed_pictures(encoder, stopping(photos, 5), output)
    assert not output.exists()
    computed = encoder.count
    assert 0 < computed <= 5
    again = Counting(model, batch_size=2)
    done = embed_pictures(again, photos[::-1], output)
    assert again.count == len(photos) - computed
    assert (done.rows, done.made) == (7, 7 - computed)
    _, keys, vectors = read(output)
    assert keys == photos[::-1], "the order is that of the call, not that of the parts"
    assert np.allclose(vectors, encoder.encode(photos[::-1]), atol=1e-6)


def test_unreadable_pictures_are_told_and_tried_again(tmp_path, encoder, photos):
    output = tmp_path / "f.npz"
    (tmp_path / "1.png").write_bytes(b"no picture")
    missing = str(tmp_path / "gone.png")
    done = embed_pictures(encoder, [*photos[:3], missing], output)
    assert [path for path, _ in done.unreadable] == [photos[1], missing]
    assert read(output)[1] == [photos[0], photos[2]]
    with pytest.raises(KeyboardInterrupt):
        embed_pictures(encoder, stopping(photos[:3], 3), output)
    Image.new("RGB", (8, 8)).save(photos[1])
    assert embed_pictures(encoder, photos[:3], output).rows == 3


def test_nothing_readable_is_an_empty_file(tmp_path, encoder):
    for ending in ENDINGS:
        done = embed_pictures(encoder, ["gone.png"], tmp_path / f"f{ending}")
        assert done.rows == 0 and len(done.unreadable) == 1
        assert read(done.output)[1] == []


def test_parts_of_another_head_or_kind_are_refused_and_stay(tmp_path, encoder, photos):
    output = tmp_path / "f.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed_pictures(encoder, stopping(photos, 4), output)
    with pytest.raises(UsageError) as refused:
        embed_pictures(encoder, photos, output, head="captions")
    for said in ("head names", "head captions", encoder.digest[:8], "f.parquet.parts"):
        assert said in refused.value.message
    with pytest.raises(UsageError, match="texts by"):
        embed_texts(encoder, ["a"], output)
    assert embed_pictures(encoder, photos, output).made < 7


def test_parts_of_another_model_are_refused_naming_both(tmp_path):
    first = Origin("runs/first", "a" * 32, "names", 4)
    with Parts(tmp_path / "f.npz", first) as parts:
        parts.add(first.rows(["x"], np.eye(4, dtype=np.float32)[:1]))
    other = replace(first, model="runs/other", digest="b" * 32)
    with pytest.raises(UsageError, match=r"runs/first \(aaaaaaaa\).*runs/other \(bbbbbbbb\)"):
        Parts(tmp_path / "f.npz", other)


def test_one_writer_at_a_time(tmp_path):
    origin = Origin("m", "a", "names", 4)
    with Parts(tmp_path / "f.npz", origin), pytest.raises(UsageError, match="is being written by"):
        Parts(tmp_path / "f.npz", origin)
    with Parts(tmp_path / "f.npz", origin):
        pass


def test_a_torn_part_is_made_again(tmp_path, encoder, photos):
    output = tmp_path / "f.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed_pictures(encoder, stopping(photos, 4), output)
    (part,) = (tmp_path / "f.parquet.parts").glob("*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    assert embed_pictures(encoder, photos, output).made == 7


def test_names_that_are_no_utf8_are_kept_legibly(tmp_path, encoder, photos):
    strange = photos[0].replace("0.png", "\udcff.png")
    Image.new("RGB", (8, 8)).save(strange)
    embed_pictures(encoder, [strange], tmp_path / "f.parquet")
    assert read(tmp_path / "f.parquet")[1] == [photos[0].replace("0.png", "\\udcff.png")]


def test_a_wrong_ending_is_told_before_anything_is_computed(tmp_path, encoder):
    with pytest.raises(UsageError) as refused:
        embed_pictures(encoder, ["x"], tmp_path / "f.parqet")
    assert refused.value.hint == "did you mean '.parquet'?"
    assert "network" not in vars(encoder), "the model was not even loaded"


def test_files_that_hold_no_vectors_are_told(tmp_path):
    for name in ("f.npz", "f.json", "f.parquet"):
        with pytest.raises(DataError, match="no such file"):
            open_embeddings(tmp_path / name)
        (tmp_path / name).write_bytes(b"{}")
        with pytest.raises(DataError, match=name):
            open_embeddings(tmp_path / name)
    pq.write_table(pa.table({"file_name": ["a"]}), tmp_path / "f.parquet")
    with pytest.raises(DataError, match="which model"):
        open_embeddings(tmp_path / "f.parquet")


def test_a_failed_write_leaves_what_was_there(tmp_path):
    origin = Origin("m", "d", "names", 2)
    rows = origin.rows(["a"], np.eye(2, dtype=np.float32)[:1])

    def failing():
        yield rows
        raise OSError("disk full")

    for ending in ENDINGS:
        path = tmp_path / f"f{ending}"
        write_embeddings(path, origin, [rows])
        with pytest.raises(OSError, match="disk full"):
            write_embeddings(path, origin, failing())
        assert read(path)[1] == ["a"]
        assert [p.name for p in tmp_path.glob("f*.partial*")] == []


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 20), st.booleans())
def test_gathered_tables_hold_every_row_in_order(sizes, rows, fails):
    starts = np.cumsum([0, *sizes])
    tables = [pa.table({"i": range(s, s + n)}) for s, n in zip(starts, sizes, strict=False)]

    def source():
        yield from tables
        if fails:
            raise KeyboardInterrupt

    seen, stopped = [], False
    try:
        for table in gather(source(), rows, seconds=1e9):
            seen.append(table["i"].to_pylist())
    except KeyboardInterrupt:
        stopped = True
    assert [i for part in seen for i in part] == list(range(sum(sizes)))
    assert stopped == fails
    assert all(len(part) >= rows for part in seen[:-1])


def test_rows_do_not_wait_for_long():
    tables = [pa.table({"i": [i]}) for i in range(3)]
    assert [len(t) for t in gather(tables, rows=100, seconds=-1)] == [1, 1, 1]


@given(
    st.text(max_size=8),
    st.none() | st.tuples(*[st.integers(0, 10**5).map(lambda v: v / 4)] * 4),
)
def test_a_key_is_read_back_from_the_table(name, box):
    item = name if box is None else Crop(name, *box)
    table = Origin("m", "d", "names", 2).rows([item], np.ones((1, 2), np.float32))
    assert keys_of(table) == [say_key(item)]
