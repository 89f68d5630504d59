"""Replayed pictures: opened like any others, in their share of each batch, with negative nodes."""

import data_fakes as fakes
import numpy as np
import pytest
import torch

from domainclip.data.datamodule import open_data
from domainclip.errors import DataError, UsageError
from domainclip.recipe.schema import Recipe


def opened(replay, share=0.25, domain=None, **data):
    data = {"batch_size": 8, "workers": 0, "replay": str(replay), "replay_share": share, **data}
    recipe = Recipe(domain="fake", data=data, train={"augment": False})
    return open_data(recipe, domain or fakes.make_domain(), 16)


def captioned(root, cells, **more):
    rows = [
        {"file_name": f"{i}.png", "caption": cell, **{k: v(i) for k, v in more.items()}}
        for i, cell in enumerate(cells)
    ]
    for i, row in enumerate(rows):
        fakes.picture(root / row["file_name"], seed=1000 + i)
    return fakes.write_csv(root / "metadata.csv", rows)


def test_each_step_takes_its_share_of_both(tmp_path):
    data = opened(captioned(tmp_path, ["a dog", "a cat | a pet", "a dog", "a tree", "the sea"]))
    assert data.replay.captions[1] == ("a cat", "a pet")
    assert data.replay.nodes.tolist() == [-1, -2, -1, -3, -4]
    assert data.steps_per_epoch == 5  # 30 pictures by 6
    data.steps = 10
    batches = list(data.train_dataloader())
    drawn = torch.stack([batch.indices for batch in batches]).numpy()
    assert ((drawn >= 30).sum(axis=1) == 2).all()
    assert np.bincount(drawn[drawn < 30]).tolist() == [2] * 30
    assert np.bincount(drawn[drawn >= 30] - 30).tolist() == [4] * 5
    for batch in batches:
        for pixels, node, index in zip(batch.pixels, batch.nodes, batch.indices, strict=True):
            source, at = data.splits["train"], int(index)
            if at >= 30:
                source, at = data.replay, at - 30
            assert int(node) == source.nodes[at]
            np.testing.assert_array_equal(pixels.permute(1, 2, 0), source.read([at])[0])
    loader = data.train_dataloader()
    loader.load_state_dict({"next_step": 7})
    rest = list(loader)
    for one, other in zip(rest, batches[7:], strict=True):
        assert torch.equal(one.indices, other.indices) and torch.equal(one.pixels, other.pixels)


def test_what_steps_draw_from_can_be_gone_through_by_index(tmp_path):
    data = opened(captioned(tmp_path, ["a dog", "a cat"]), limit=20)
    batches = list(data.loader("drawn"))
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(22))
    assert torch.cat([batch.nodes for batch in batches])[20:].tolist() == [-1, -2]
    pixels = torch.cat([batch.pixels for batch in batches])
    for batch in data.train_dataloader():
        assert torch.equal(batch.pixels, pixels[batch.indices])


def test_processes_share_replayed_batches(tmp_path):
    source = captioned(tmp_path, ["a dog", "a cat", "a tree"])
    whole = list(opened(source).train_dataloader())
    shares = []
    for rank in range(2):
        data = opened(source)
        data.rank, data.world = rank, 2
        shares.append(list(data.train_dataloader()))
    for batch, *mine in zip(whole, *shares, strict=True):
        assert torch.equal(torch.cat([one.pixels for one in mine]), batch.pixels)


def test_the_order_of_the_domain_is_its_own(tmp_path):
    few = opened(captioned(tmp_path / "a", ["a dog"]))
    many = opened(captioned(tmp_path / "b", [f"a dog {i}" for i in range(40)]))
    orders = []
    for data in (few, many):
        data.steps = 10
        indices = [batch.indices.tolist() for batch in data.train_dataloader()]
        orders.append([sorted(i for i in batch if i < 30) for batch in indices])
    assert orders[0] == orders[1]


def test_labels_stand_in_for_captions_and_held_out_pictures_stay_out(tmp_path):
    for split in ("train", "test"):
        fakes.class_folders(tmp_path, ("dog", "cat"), n=3, split=split)
    replay = opened(tmp_path).replay
    assert len(replay) == 6 and all(one.startswith("train/") for one in replay.ids)
    assert set(replay.captions) == {("dog",), ("cat",)}
    assert set(replay.nodes.tolist()) == {-1, -2}


def test_pictures_without_either_are_left_out_or_refused(tmp_path):
    some = opened(captioned(tmp_path / "a", ["a dog", "", "a cat"]))
    assert len(some.replay) == 2
    assert any("1 cannot be read or have no caption" in line for line in some.messages)
    with pytest.raises(DataError, match="no picture has a caption or a label"):
        opened(captioned(tmp_path / "b", ["", ""]))


def test_a_share_of_nothing_or_all_is_refused(tmp_path):
    for share in (0.01, 1.0):
        with pytest.raises(UsageError, match="both sources need one"):
            opened(tmp_path, share)


def test_the_fingerprint_tells_which_part_changed(tmp_path):
    path = captioned(tmp_path, ["a dog", "a cat"])
    first = opened(path)
    path.write_text(path.read_text().replace("a cat", "a lion"))
    second = opened(path)
    assert first.fingerprint != second.fingerprint
    assert [part for part in first.parts if first.parts[part] != second.parts[part]] == ["replay"]


def test_a_weight_column_of_general_pictures_means_nothing(tmp_path):
    data = opened(captioned(tmp_path, ["a dog", "a cat"], weight=lambda i: "20 kg"))
    assert data.drawn.weights is None and len(data.replay) == 2
    own = captioned(tmp_path / "own", "abcde" * 4, weight=lambda i: 2, label=lambda i: "xy"[i % 2])
    data = opened(tmp_path, source=str(own))
    np.testing.assert_allclose(data.drawn.weights, np.ones(len(data.splits["train"]) + 2))


def test_limit_and_size_hold_for_replayed_pictures_too(tmp_path):
    source = captioned(tmp_path, [f"a dog {i}" for i in range(9)])
    assert len(opened(source, limit=4).replay) == 4
    unpacked = opened(source, cache_gb=1e-9)
    assert not hasattr(unpacked.replay.pictures, "folder")
    np.testing.assert_array_equal(unpacked.replay.read([3]), opened(source).replay.read([3]))


def test_a_tenth_is_held_out_where_it_is_asked_what_was_forgotten(tmp_path):
    source = captioned(tmp_path, [f"thing {i}" for i in range(50)])
    data = {"batch_size": 8, "workers": 0, "replay": str(source), "replay_share": 0.25}
    recipe = Recipe(domain="fake", data=data, train={"augment": False, "wise_ft": True})
    found = open_data(recipe, fakes.make_domain(), 16)
    assert (len(found.replay), len(found.held)) == (45, 5)
    said = [one[0] for one in (*found.replay.captions, *found.held.captions)]
    assert sorted(said) == sorted(f"thing {i}" for i in range(50))
    assert len(found.drawn) == 30 + 45
    (batch,) = found.loader("held")
    for i, pixels in enumerate(batch.pixels):
        np.testing.assert_array_equal(pixels.permute(1, 2, 0), found.held.read([i])[0])
    again = open_data(recipe, fakes.make_domain(), 16)
    assert again.held.ids == found.held.ids


def test_too_few_pictures_to_hold_any_out_are_refused(tmp_path):
    source = captioned(tmp_path, ["a dog", "a cat", "a tree"])
    data = {"batch_size": 8, "workers": 0, "replay": str(source), "replay_share": 0.25}
    recipe = Recipe(domain="fake", data=data, train={"wise_ft": True})
    with pytest.raises(UsageError, match=r"holds 4 replayed pictures out, and data\.replay has 3"):
        open_data(recipe, fakes.make_domain(), 16)
