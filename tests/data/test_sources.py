"""Sources of every kind become the same columns."""

import io
import json
import tarfile

import data_fakes as fakes
import numpy as np
import pytest
from PIL import Image

from domainclip.data.datamodule import open_data
from domainclip.data.sources import open_source
from domainclip.domains.labels import LabelTree
from domainclip.errors import DataError, UsageError
from domainclip.recipe.schema import Recipe

COLUMNS = {"id", "image", "split", "label", "common", "captions", "group", "licence"}


def opened(path, **options):
    changes = options.pop("domain", {})
    return open_source(str(path), fakes.make_domain(**changes), **options)


def cells(source, column):
    return dict(zip(source.dataset["id"], source.dataset[column], strict=True))


def table(root, rows, name="metadata.csv", n=0):
    """Write rows, and a picture for each file they name."""
    for i, row in enumerate(rows):
        fakes.picture(root / row["file_name"], seed=n + i)
    return fakes.write_csv(root / name, rows, "\t" if name.endswith("tsv") else ",")


def rows_of(n=12, **more):
    return [
        {"file_name": f"p/{i}.png", "label": "ab"[i % 2], **{k: v(i) for k, v in more.items()}}
        for i in range(n)
    ]


def test_a_folder_of_classes(tmp_path):
    source = opened(fakes.class_folders(tmp_path / "set"))
    assert set(source.dataset.column_names) == COLUMNS
    assert source.ranks == ("label",)
    assert cells(source, "label")["ant/ant_0.png"] == "ant"
    assert source.dataset["split"].count("train") == 14
    assert "label <- name of the folder" in source.guesses
    row = source.dataset[0]["image"]
    assert row["bytes"] is None
    Image.open(row["path"]).verify()
    assert source.tree.path(int(source.nodes[0])) == ("ant",)


def test_a_folder_of_splits(tmp_path):
    for split, n in (("train", 6), ("validation", 2), ("test", 3)):
        fakes.class_folders(tmp_path, n=n, split=split)
    source = opened(tmp_path)
    splits = source.dataset["split"]
    assert [splits.count(s) for s in ("train", "val", "test")] == [12, 4, 6]
    assert "train/ant/ant_0.png" in source.dataset["id"]
    assert set(source.dataset["label"]) == {"ant", "bee"}


def test_a_loose_picture_beside_the_splits_is_no_class(tmp_path):
    for split, n in (("train", 6), ("test", 3)):
        fakes.class_folders(tmp_path, n=n, split=split)
    fakes.picture(tmp_path / "preview.png", 0)
    source = opened(tmp_path)
    assert set(source.dataset["label"]) == {"ant", "bee"}
    assert set(source.dataset["split"]) == {"train", "val", "test"}
    assert source.unreadable == [("preview.png", "it has no label")]


def test_a_class_called_train_is_no_split(tmp_path):
    source = opened(fakes.class_folders(tmp_path, ("train", "tram")))
    assert set(source.dataset["label"]) == {"train", "tram"}


def test_deeper_folders_belong_to_their_class(tmp_path):
    fakes.class_folders(tmp_path)
    fakes.picture(tmp_path / "bee" / "site 1" / "x.JPG", 5000)
    assert cells(opened(tmp_path), "label")["bee/site 1/x.JPG"] == "bee"


def test_what_is_no_picture_is_left_alone(tmp_path):
    fakes.class_folders(tmp_path, n=5)
    for name in ("README.md", "ant/.hidden.png", "ant/Thumbs.db", "__MACOSX/ant/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "ant" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert len(opened(tmp_path)) == 10


def test_a_domains_own_formats_are_found(tmp_path):
    fakes.class_folders(tmp_path, n=5)
    for i in range(3):
        (tmp_path / "ant" / f"{i}.xyz").write_bytes(b"MAGIC" + bytes([i]))
    assert len(opened(tmp_path)) == 10

    def reader(data):
        return Image.new("RGB", (20, 20), (data[-1], 0, 0))

    assert len(opened(tmp_path, domain={"read_image": reader})) == 13
    recipe = Recipe(domain="fake", data={"source": str(tmp_path)})
    data = open_data(recipe, fakes.make_domain(read_image=reader), 8)
    assert data.unreadable == []
    assert sum(len(split) for split in data.splits.values()) == 13


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.tsv"])
def test_a_folder_with_a_table(tmp_path, name):
    rows = rows_of(
        split=lambda i: ("train", "train", "val", "test")[i // 3], license=lambda i: "CC0"
    )
    table(tmp_path, rows, name)
    source = opened(tmp_path)
    assert cells(source, "split")["p/11.png"] == "test"
    assert set(source.dataset["licence"]) == {"CC0"}
    assert "licence <- license" in source.guesses
    assert [len(source), len(source.unreadable)] == [12, 0]


def test_a_table_beside_its_pictures_or_elsewhere(tmp_path):
    rows = rows_of()
    table(tmp_path / "pics", rows)
    for row in rows:
        row["file_name"] = f"pics/{row['file_name']}"
    below = opened(fakes.write_csv(tmp_path / "below.csv", rows))
    assert "pics/p/0.png" in below.dataset["id"]
    for row in rows:
        row["file_name"] = str(tmp_path / row["file_name"])
    far = opened(fakes.write_csv(tmp_path / "elsewhere" / "far.csv", rows))
    assert far.dataset["id"][0] == (tmp_path / "pics/p/0.png").as_posix()
    inside = opened(fakes.write_csv(tmp_path / "inside.csv", rows))
    assert inside.dataset["id"][0] == "pics/p/0.png"


def test_json_lines(tmp_path):
    rows = rows_of(captions=lambda i: [f"one {i}", f"two {i}"], number=lambda i: i)
    for i, row in enumerate(rows):
        fakes.picture(tmp_path / row["file_name"], seed=i)
    text = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "metadata.jsonl").write_text(text + "\n\n", encoding="utf-8")
    source = opened(tmp_path)
    assert cells(source, "captions")["p/3.png"] == ["one 3", "two 3"]
    (tmp_path / "metadata.jsonl").write_text(text + "\n{oops", encoding="utf-8")
    with pytest.raises(DataError, match=r"metadata.jsonl, line 13 is no JSON"):
        opened(tmp_path)


def test_parquet_of_paths_and_of_pictures(tmp_path):
    import datasets

    rows = rows_of(number=lambda i: i)
    table(tmp_path, rows, "other.csv")
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    datasets.Dataset.from_dict(columns).to_parquet(tmp_path / "paths.parquet")
    paths = opened(tmp_path / "paths.parquet")
    assert paths.dataset["id"][3] == "p/3.png"

    labels = datasets.ClassLabel(names=["ant", "bee"])
    held = datasets.Dataset.from_dict(
        {
            "picture": [{"bytes": (tmp_path / f).read_bytes()} for f in columns["file_name"]],
            "label": [i % 2 for i in range(12)],
        },
        datasets.Features({"picture": datasets.Image(), "label": labels}),
    )
    held.to_parquet(tmp_path / "held.parquet")
    source = opened(tmp_path / "held.parquet")
    assert source.dataset["id"][3] == "000003"
    assert source.dataset["label"][:3] == ["ant", "bee", "ant"]
    record = source.dataset[3]["image"]
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(record["bytes"]))),
        np.random.default_rng(3).integers(0, 255, (20, 24, 3), dtype=np.uint8),
    )


def shard(path, samples):
    """Write a WebDataset shard: for each key the files by ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, files in samples.items():
            for ending, data in files.items():
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def sample(tmp_path, i):
    picture = fakes.picture(tmp_path / "t.png", i, (700, 600)).read_bytes()
    said = {"label": ("ant", "bee")[i % 2], "license": "CC0"}
    return {"png": picture, "json": json.dumps(said).encode(), "txt": f"number {i}".encode()}


@pytest.mark.parametrize("streaming", [False, True])
def test_webdataset_shards(tmp_path, streaming):
    for split, first, n in (("train", 0, 8), ("val", 8, 2), ("test", 10, 4)):
        made = {f"{i:04d}": sample(tmp_path, i) for i in range(first, first + n)}
        shard(tmp_path / "shards" / f"{split}-000.tar", made)
    source = opened(tmp_path / "shards", streaming=streaming)
    assert cells(source, "split")["val-000/0008"] == "val"
    assert cells(source, "label")["test-000/0011"] == "bee"
    assert cells(source, "captions")["train-000/0003"] == ["number 3"]
    assert set(source.dataset["licence"]) == {"CC0"}
    record = source.dataset[0]["image"]
    size = Image.open(io.BytesIO(record["bytes"])).size
    assert size == ((597, 512) if streaming else (700, 600))  # a stream keeps what is needed
    pattern = opened(tmp_path / "shards" / "*.tar", streaming=streaming)
    assert pattern.dataset["id"] == source.dataset["id"]
    recipe = {"source": str(tmp_path / "shards"), "streaming": streaming}
    data = open_data(Recipe(domain="fake", data=recipe), fakes.make_domain(), 8)
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 8,
        "val": 2,
        "test": 4,
    }


def test_one_shard_without_a_split(tmp_path):
    made = {f"{i:04d}": sample(tmp_path, i) for i in range(12)}
    source = opened(shard(tmp_path / "all.tar", made))
    assert source.dataset["id"][0] == "all/0000"
    assert set(source.dataset["split"]) == {"train", "val", "test"}
    with pytest.raises(DataError, match=r"no .tar shard matches"):
        opened(tmp_path / "none-*.tar")


def test_ranks_make_a_tree_of_the_users_own(tmp_path):
    rows = rows_of(
        kingdom=lambda i: "K", family=lambda i: "" if i % 2 else "F", species=lambda i: "ab"[i % 2]
    )
    table(tmp_path, rows)
    source = opened(tmp_path)
    assert source.ranks == fakes.RANKS
    keys = {source.tree.key(int(node)) for node in source.nodes}
    assert keys == {("K", "F", "a"), ("K", "", "b")}


def test_a_label_below_the_ranks_is_a_rank_of_its_own(tmp_path):
    """The label is what the leaf has; the ranks are those of the plant."""
    names = ("apple scab", "apple rot", "grape rot")
    rows = [
        {
            "file_name": f"{i}.png",
            "label": names[i % 3],
            "kingdom": "K",
            "species": "Vitis" if i % 3 == 2 else "Malus",
            "common_name": "grape" if i % 3 == 2 else "apple",
        }
        for i in range(15)
    ]
    table(tmp_path, rows)
    source = opened(tmp_path)
    assert source.ranks == ("kingdom", "species", "label")
    node = int(source.nodes[0])
    assert source.tree.path(node) == ("K", "Malus", "apple scab")
    assert set(source.dataset["label"]) == set(names)
    assert source.tree.name(node, "common") is None  # apple is the plant, not its disease
    (malus,) = source.tree.find("Malus")
    assert source.tree.name(malus, "common") == "apple"


def test_a_label_that_is_its_finest_rank_adds_none(tmp_path):
    table(
        tmp_path, rows_of(species=lambda i: "ab"[i % 2], common_name=lambda i: ("A1", "B1")[i % 2])
    )
    source = opened(tmp_path)
    assert source.ranks == ("species",)
    assert source.tree.name(int(source.nodes[0]), "common") == "A1"


def test_a_picture_labelled_at_a_coarser_rank_only(tmp_path):
    rows = rows_of(family=lambda i: "F", species=lambda i: "" if i < 4 else "ab"[i % 2])
    for row in rows:
        del row["label"]
    table(tmp_path, rows)
    source = opened(tmp_path)
    assert cells(source, "label")["p/0.png"] == "F"
    assert source.tree.path(int(source.nodes[0])) == ("F",)


def test_the_domain_enriches_and_says_how_much(tmp_path):
    def labels():
        return LabelTree.from_columns(
            {"species": ["a", "z"], "common": ["Ay", "Zed"]}, ("species",)
        )

    table(tmp_path, rows_of())
    source = opened(tmp_path, domain={"labels": labels, "ranks": ("species",)})
    assert "1 of the 2 labels are known to the domain fake" in source.guesses
    names = {source.tree.name(int(n)): source.tree.name(int(n), "common") for n in source.nodes}
    assert names == {"a": "Ay", "b": None}


@pytest.mark.parametrize(
    ("cell", "captions"),
    [
        ("one | two | one", ["one", "two"]),
        ("a|b", ["a|b"]),
        ('["one", "two | three"]', ["one", "two | three"]),
        ("[sic] one", ["[sic] one"]),
        ("", []),
    ],
)
def test_captions_in_one_cell(tmp_path, cell, captions):
    table(tmp_path, rows_of(captions=lambda i: cell))
    assert opened(tmp_path).dataset["captions"][0] == captions


def test_caption_and_captions_are_joined(tmp_path):
    table(tmp_path, rows_of(caption=lambda i: "one", captions=lambda i: "one | two"))
    assert opened(tmp_path).dataset["captions"][0] == ["one", "two"]


def test_ids_from_a_column(tmp_path):
    table(tmp_path, rows_of(id=lambda i: f"00{i}"))
    assert opened(tmp_path).dataset["id"][:2] == ["000", "001"]


def test_splits_follow_groups(tmp_path):
    table(tmp_path, rows_of(40, group=lambda i: f"g{i // 4}"))
    source = opened(tmp_path, seed=1)
    where = {}
    for group, split in zip(source.dataset["group"], source.dataset["split"], strict=True):
        where.setdefault(group, set()).add(split)
    assert all(len(splits) == 1 for splits in where.values())
    assert set.union(*where.values()) == {"train", "val", "test"}
    assert any("whole groups" in line for line in source.guesses)


def test_an_unseen_split_of_the_users_own(tmp_path):
    rows = rows_of(20, split=lambda i: ("train", "val", "test")[min(i // 2 % 4, 2)])
    rows += [{"file_name": f"u/{i}.png", "label": "c", "split": "test_unseen"} for i in range(3)]
    table(tmp_path, rows)
    data = open_data(Recipe(domain="fake", data={"source": str(tmp_path)}), fakes.make_domain(), 8)
    assert [data.tree.name(int(node)) for node in data.unseen] == ["c"]
    assert set(data.test_dataloaders()) == {"test", "test_unseen"}


def test_given_columns_win(tmp_path):
    rows = rows_of(12, finding=lambda i: ("x", "y")[i % 2], camera=lambda i: "c")
    table(tmp_path, rows)
    source = opened(tmp_path, columns={"label": "finding"})
    assert set(source.dataset["label"]) == {"x", "y"}
    with pytest.raises(UsageError, match="'findings'") as caught:
        opened(tmp_path, columns={"label": "findings"})
    assert caught.value.hint == "did you mean 'finding'?"


def data_of(root, **data):
    recipe = Recipe(domain="fake", data={"source": str(root), "workers": 0, **data})
    return open_data(recipe, fakes.make_domain(), 16)


def folders(data):
    return {name: split.pictures.folder for name, split in data.splits.items()}


def test_pictures_are_packed_once_and_anew_when_they_change(tmp_path):
    root = fakes.class_folders(tmp_path / "set")
    first = data_of(root)
    again = data_of(root)
    assert folders(again) == folders(first)
    assert again.fingerprint == first.fingerprint
    changed = root / first.ids["train"][0]
    fakes.picture(changed, seed=77, size=(25, 21))
    later = data_of(root)
    assert folders(later)["train"] != folders(first)["train"]
    assert folders(later)["test"] == folders(first)["test"]
    assert later.fingerprint != first.fingerprint
    assert not np.array_equal(later.splits["train"].read([0]), first.splits["train"].read([0]))


def test_labels_change_the_fingerprint_but_not_the_pictures(tmp_path):
    rows = rows_of(split=lambda i: ("train", "train", "val", "test")[i // 3])
    table(tmp_path, rows)
    first = data_of(tmp_path)
    for row in rows:
        row["label"] = {"a": "b", "b": "a"}[row["label"]]
    fakes.write_csv(tmp_path / "metadata.csv", rows)
    later = data_of(tmp_path)
    assert folders(later) == folders(first)
    assert later.fingerprint != first.fingerprint


@pytest.mark.parametrize("change", [{"margin": 0.5}, {"max_pixels": 10_000}])
def test_other_settings_pack_anew(tmp_path, change):
    root = fakes.class_folders(tmp_path / "set")
    assert folders(data_of(root))["train"] != folders(data_of(root, **change))["train"]


def test_past_the_size_limit_pictures_are_decoded_on_the_fly(tmp_path, home):
    root = fakes.class_folders(tmp_path / "set")
    packed = data_of(root)
    (root / packed.ids["train"][1]).touch()
    flying = data_of(root, cache_gb=1e-6)
    assert any("data.cache_gb" in message for message in flying.messages)
    for name, split in packed.splits.items():
        np.testing.assert_array_equal(
            split.read(range(len(split))), flying.splits[name].read(range(len(split)))
        )
    whole = (root / packed.ids["train"][2]).read_bytes()
    (root / packed.ids["train"][2]).write_bytes(b"broken")
    listed = data_of(root, cache_gb=1e-6)
    assert [name for name, _ in listed.unreadable] == [packed.ids["train"][2]]
    assert len(listed.splits["train"]) == len(packed.splits["train"]) - 1
    (root / packed.ids["train"][2]).write_bytes(whole)
    flying.steps = 2
    assert [batch.step for batch in flying.train_dataloader()] == [0, 1]
    (root / packed.ids["test"][0]).write_bytes(b"broken since")
    with pytest.warns(UserWarning, match="shown as black: not a picture"):
        assert (flying.splits["test"].read([0]) == 0).all()
