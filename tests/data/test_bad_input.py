"""Bad input of every kind: a clear line that says what and where, and nothing is lost."""

import shutil
from collections import Counter

import data_fakes as fakes
import numpy as np
import pytest
from data_fakes import encoded, huge_png
from PIL import Image

from domainclip.data.datamodule import open_data
from domainclip.data.inspect import inspect
from domainclip.data.sources import open_source
from domainclip.errors import DataError
from domainclip.recipe.schema import Recipe


def opened(path, **options):
    return open_source(str(path), fakes.make_domain(), **options)


def data_of(root, **data):
    recipe = Recipe(domain="fake", data={"source": str(root), "workers": 0, **data})
    return open_data(recipe, fakes.make_domain(), 16)


def looked_at(root, **options):
    return inspect(str(root), fakes.make_domain(), **options)


@pytest.fixture
def root(tmp_path):
    return fakes.class_folders(tmp_path / "set", n=20)


def test_no_such_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=r"no file or folder .*photoz") as caught:
        opened(tmp_path / "photoz")
    assert caught.value.hint == "did you mean 'photos'?"


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match=f"no picture in {tmp_path / 'home'}"):
        (tmp_path / "home").mkdir()
        opened(tmp_path / "home")


def test_a_folder_without_pictures_says_what_it_has(tmp_path):
    (tmp_path / "notes.docx").write_text("")
    with pytest.raises(DataError, match=r"it has \.docx files"):
        opened(tmp_path)


def test_pictures_without_classes(tmp_path):
    for i in range(5):
        fakes.picture(tmp_path / f"{i}.png", i)
    with pytest.raises(DataError, match="no picture has a label") as caught:
        opened(tmp_path)
    assert "one folder a class" in caught.value.hint


@pytest.mark.parametrize("content", ["", "file_name,label\n"])
def test_an_empty_table(tmp_path, content):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=r"t.csv has no (rows|header)"):
        opened(tmp_path / "t.csv")


def test_a_table_without_files(tmp_path):
    path = fakes.write_csv(tmp_path / "t.csv", [{"photo_url": "a", "label": "b"}])
    with pytest.raises(DataError, match="no column names the picture files; there are photo_url"):
        opened(path)


def test_one_class_only(root):
    shutil.rmtree(root / "bee")
    with pytest.raises(DataError, match="all pictures have the label 'ant'") as caught:
        opened(root)
    assert "another label" in caught.value.hint
    assert any("all pictures have the label 'ant'" in p for p in looked_at(root).problems)


def test_one_class_with_captions_can_be_trained(tmp_path):
    rows = [{"file_name": f"{i}.png", "label": "a", "caption": f"no. {i}"} for i in range(10)]
    for i, row in enumerate(rows):
        fakes.picture(tmp_path / row["file_name"], i)
    fakes.write_csv(tmp_path / "metadata.csv", rows)
    assert "only captions tell them apart" in " ".join(opened(tmp_path).problems)


def test_a_class_without_a_test_picture(root):
    fakes.picture(root / "wasp" / "only.png", 999)
    assert "no test picture: 1 label ('wasp')" in opened(root).problems


def test_too_few_pictures_to_split(tmp_path):
    fakes.class_folders(tmp_path, n=1)
    with pytest.raises(DataError, match="no picture is left for the split val") as caught:
        data_of(tmp_path)
    assert "three pictures" in caught.value.hint


def test_missing_files_are_listed_and_left_out(tmp_path):
    rows = [{"file_name": f"{i}.png", "label": "ab"[i % 2]} for i in range(20)]
    for i, row in enumerate(rows):
        fakes.picture(tmp_path / row["file_name"], i)
    (tmp_path / "3.png").unlink()
    rows += [{"file_name": "", "label": "a"}, {"file_name": "deep/x.png", "label": "a"}]
    fakes.write_csv(tmp_path / "metadata.csv", rows)
    source = opened(tmp_path)
    assert source.unreadable == [
        ("3.png", "the file is missing"),
        ("row 21", "no file is named"),
        ("deep/x.png", "the file is missing"),
    ]
    assert len(source) == 19
    said = "3 pictures ('3.png', 'row 21', 'deep/x.png') are left out"
    assert any(problem.startswith(said) for problem in source.problems)
    data = data_of(tmp_path)
    assert data.unreadable == source.unreadable
    assert sum(len(split) for split in data.splits.values()) == 19
    assert looked_at(tmp_path).unreadable == 3


def test_all_files_missing(tmp_path):
    fakes.write_csv(tmp_path / "t.csv", [{"file_name": "a.png", "label": "b"}])
    with pytest.raises(DataError, match=r"none of its 1 pictures exists; the first is .*a\.png"):
        opened(tmp_path / "t.csv")


BROKEN = {
    "truncated.jpg": (
        encoded(Image.fromarray(np.zeros((300, 300, 3), np.uint8)), "JPEG")[:900],
        "the file is truncated",
    ),
    "empty.png": (b"", "the file is empty"),
    "text.png": (b"hello", "not a picture that can be opened"),
    "huge.png": (huge_png(30_000, 30_000), "30000 x 30000 pixels are more than the limit"),
}
FRAMES = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
FINE = {
    "deep.png": encoded(Image.fromarray(np.full((20, 20), 40_000, np.uint16))),
    "cmyk.jpg": encoded(Image.new("CMYK", (20, 20), (0, 255, 0, 0)), "JPEG"),
    "moving.gif": encoded(
        Image.new("RGB", (9, 9), "red"),
        "GIF",
        save_all=True,
        append_images=[Image.new("RGB", (9, 9))],
    ),
    "dot.png": encoded(Image.new("RGB", (1, 1), "red")),
}


def test_odd_files_are_read_and_broken_ones_listed(root):
    for name, data in {**FINE, **{name: data for name, (data, _) in BROKEN.items()}}.items():
        (root / "ant" / name).write_bytes(data)
    data = data_of(root)
    reasons = dict(data.unreadable)
    assert set(reasons) == {f"ant/{name}" for name in BROKEN}
    for name, (_, reason) in BROKEN.items():
        assert reason in reasons[f"ant/{name}"]
    kept = {one for ids in data.ids.values() for one in ids}
    assert {f"ant/{name}" for name in FINE} <= kept
    assert len(kept) == 44
    assert any("4 pictures could not be read and are left out" in m for m in data.messages)
    for name, split in data.splits.items():  # rows, labels and pictures still belong together
        assert len(split.ids) == len(split) == len(split.captions) == len(split.groups)
        for i, one in enumerate(split.ids):
            assert data.tree.name(int(split.nodes[i])) == one.split("/")[0]
            if one == "ant/cmyk.jpg":
                red, green, blue = split[i][0].mean((0, 1))
                assert red > 200 > 60 > green, name
                assert blue > 200
    seen = looked_at(root)
    assert dict(seen.broken) == reasons
    assert seen.tables()["broken"][0]["id"].startswith("ant/")


def test_nothing_that_can_be_read(tmp_path):
    for i in range(20):
        path = tmp_path / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no")
    with pytest.raises(DataError, match=r"no picture of the split train can be read; one is"):
        data_of(tmp_path)


NAMES = [
    "Poa annua, L.",
    'the "great" one',
    "tab\tbetween",
    "Ævar Þór čeština 日本",
    "007",
    "NA",
    "None",
    "nan",
    "1e5",
    "true",
]


def test_names_survive_as_they_are(tmp_path):
    rows = [
        {"file_name": f"{i}.png", "label": NAMES[i // 5], "caption": f'say "{NAMES[i // 5]}", ok'}
        for i in range(5 * len(NAMES))
    ]
    for i, row in enumerate(rows):
        fakes.picture(tmp_path / row["file_name"], i)
    fakes.write_csv(tmp_path / "metadata.csv", rows)
    source = opened(tmp_path)
    assert list(dict.fromkeys(source.dataset["label"])) == NAMES
    assert {source.tree.name(int(node)) for node in source.nodes} == set(NAMES)
    assert source.dataset["captions"][0] == ['say "Poa annua, L.", ok']
    assert len(looked_at(tmp_path).tables()["labels"]) == len(NAMES)


def test_folder_names_survive_too(tmp_path):
    names = ["Poa annua, L.", "日本", "007", "NA", "a 'b'"]
    source = opened(fakes.class_folders(tmp_path, names, n=4))
    assert set(source.dataset["label"]) == set(names)


def test_a_label_twice_with_two_lineages(tmp_path):
    rows = [
        {"file_name": f"{i}.png", "family": ("F", "G")[i % 2], "species": "same"} for i in range(20)
    ]
    for i, row in enumerate(rows):
        fakes.picture(tmp_path / row["file_name"], i)
    fakes.write_csv(tmp_path / "metadata.csv", rows)
    source = opened(tmp_path)
    assert "'same' stands for 2 labels of different lineage: F > same; G > same" in source.problems
    assert len(set(source.nodes.tolist())) == 2


def test_ids_that_occur_twice_are_refused(tmp_path):
    rows = [{"file_name": f"{i}.png", "label": "ab"[i % 2], "id": f"{i % 4}"} for i in range(6)]
    for i, row in enumerate(rows):
        fakes.picture(tmp_path / row["file_name"], i)
    fakes.write_csv(tmp_path / "metadata.csv", rows)
    with pytest.raises(DataError, match=r"2 sample ids \('0', '1'\) occur twice") as caught:
        opened(tmp_path)
    assert "data.columns.id" in caught.value.hint


def split_by_group(root, torn):
    rows = []
    for i in range(30):
        split = ("train", "train", "train", "val", "test")[i // 2 % 5]
        group = "p-torn" if torn and split != "val" and i < 10 else f"p{i // 2}"
        rows.append({"file_name": f"{i}.png", "label": "ab"[i % 2], "split": split, "group": group})
        fakes.picture(root / f"{i}.png", i)
    fakes.write_csv(root / "metadata.csv", rows)
    return root


def test_one_group_in_two_splits_is_refused(tmp_path):
    opened(split_by_group(tmp_path, torn=False))
    with pytest.raises(DataError, match="1 group is in two splits: 'p-torn' in test and train"):
        opened(split_by_group(tmp_path, torn=True))
    problems = looked_at(tmp_path).problems
    assert sum("'p-torn'" in problem for problem in problems) == 1


def test_the_same_picture_in_train_and_test(tmp_path):
    for split, n in (("train", 6), ("val", 2), ("test", 3)):
        fakes.class_folders(tmp_path, n=n, split=split)
    shutil.copy(tmp_path / "train/ant/ant_0.png", tmp_path / "test/ant/copy.png")
    shutil.copy(tmp_path / "train/bee/bee_0.png", tmp_path / "train/bee/again.png")
    message = "1 picture is both in train and in test; domainclip data inspect names them"
    assert message in data_of(tmp_path).messages
    seen = looked_at(tmp_path)
    assert sorted(map(sorted, seen.copies)) == [
        ["test/ant/copy.png", "train/ant/ant_0.png"],
        ["train/bee/again.png", "train/bee/bee_0.png"],
    ]
    assert "2 pictures are copies of another" in seen.problems
    leak = [p for p in seen.problems if p.startswith("the same picture in two splits, 1 times")]
    assert len(leak) == 1
    assert "test/ant/copy.png (test)" in leak[0]


def test_a_val_split_of_other_labels_is_refused(tmp_path):
    fakes.class_folders(tmp_path, ("ant", "bee"), n=6, split="train")
    fakes.class_folders(tmp_path, ("cat", "dog"), n=2, split="val")
    fakes.class_folders(tmp_path, ("ant", "bee"), n=2, split="test")
    with pytest.raises(DataError, match="no label of the split val is trained on"):
        data_of(tmp_path)


def test_a_limit_leaves_val_a_label_that_is_trained_on(tmp_path):
    for split, n in (("train", 1), ("val", 1), ("test", 1)):
        fakes.class_folders(tmp_path, [f"class {i:02d}" for i in range(40)], n=n, split=split)
    splits = data_of(tmp_path, limit=2).splits
    assert set(splits["val"].nodes.tolist()) <= set(splits["train"].nodes.tolist())


def test_a_row_with_too_many_cells(tmp_path):
    (tmp_path / "t.csv").write_text("file_name,label\na.png,x\nb.png,Poa annua, L.\n")
    with pytest.raises(DataError, match="row 3") as caught:
        opened(tmp_path / "t.csv")
    assert "quotation marks" in caught.value.hint


def test_rows_without_a_label_are_left_out(tmp_path):
    rows = [{"file_name": f"{i}.png", "label": "ab"[i % 2] if i else " "} for i in range(12)]
    for i, row in enumerate(rows):
        fakes.picture(tmp_path / row["file_name"], i)
    fakes.write_csv(tmp_path / "metadata.csv", rows)
    source = opened(tmp_path)
    assert source.unreadable == [("0.png", "it has no label")]
    assert len(source) == 11


def test_a_file_that_is_no_source(tmp_path):
    path = tmp_path / "a.docx"
    path.write_text("x")
    with pytest.raises(DataError, match=r"a\.docx is no source of pictures"):
        opened(path)


@pytest.mark.parametrize("name", ["broken.tar", "broken.parquet"])
def test_broken_archives(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is neither")
    with pytest.raises(DataError, match=rf"{name}.*(readable|read)"):
        opened(tmp_path / name)


def test_inspection_counts(root, tmp_path):
    sheet = tmp_path / "out" / "sheet.png"
    seen = looked_at(root, sheet=sheet)
    tables = seen.tables()
    assert {row["split"]: row["pictures"] for row in tables["splits"]} == Counter(
        seen.source.dataset["split"]
    )
    assert tables["labels"][0] == {"label": "ant", "train": 14, "val": 2, "test": 4, "all": 20}
    assert tables["sizes"][0] == {"side": "width", "least": 24, "median": 24, "most": 24}
    assert tables["ranks"] == [{"rank": "label", "names": 2, "pictures": 40}]
    assert "broken" not in tables
    assert seen.problems == []
    with Image.open(sheet) as image:
        assert image.width == 8 * 112
        assert len(image.convert("RGB").getcolors(1 << 20)) > 1000
