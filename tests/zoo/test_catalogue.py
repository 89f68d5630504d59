"""Which cards there are, and which one a name means."""

import importlib.metadata

import pytest
import yaml

from domainclip.domains import registry
from domainclip.errors import DataError, UsageError
from domainclip.zoo.catalogue import find_cards, find_entry, get_card, own_cards


def add(name, **more):
    """Write a card of the user's own."""
    values = {"title": "Mine", "summary": "A model.", "licence": "MIT"}
    path = own_cards() / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"name": name, "source": {"repo": "me/x"}, **values, **more}))
    return path


def test_the_users_own_card_wins_over_the_one_that_ships():
    assert get_card("biology/bioclip").title == "BioCLIP"
    path = add("biology/bioclip")
    assert get_card("biology/bioclip").title == "Mine"
    assert find_entry("bioclip").path == path


def test_a_short_name_is_enough_where_it_says_which():
    assert get_card("bioclip-2").name == "biology/bioclip-2"
    assert get_card("siglip-b-16").name == "general/siglip-b-16"
    add("general/bioclip-2")
    with pytest.raises(UsageError) as caught:
        get_card("bioclip-2")
    assert caught.value.message == "'bioclip-2' is one of biology/bioclip-2, general/bioclip-2"
    assert get_card("bioclip-2", "general").title == "Mine"
    assert get_card("bioclip-2", "biology").title == "BioCLIP 2"
    assert get_card("general/bioclip-2", "biology").title == "Mine"


def test_a_name_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        get_card("biology/bioclp-2")
    assert caught.value.hint == "did you mean 'biology/bioclip-2'?"
    with pytest.raises(UsageError) as caught:
        get_card("zzz")
    assert caught.value.hint == "domainclip zoo list shows all"


def test_a_name_that_is_not_its_place_is_refused():
    path = add("biology/other")
    path.rename(path.with_name("moved.yaml"))
    with pytest.raises(DataError, match="name is 'biology/other', but its place says"):
        get_card("biology/moved")


def test_the_cards_of_one_domain():
    names = list(find_cards("remote_sensing"))
    assert len(names) > 10 and all(name.startswith("remote_sensing/") for name in names)
    assert names == sorted(names)
    assert find_cards("nowhere") == {}


def test_a_domain_of_a_package_brings_cards_and_a_broken_one_hides_none(tmp_path, monkeypatch):
    folder = tmp_path / "plankton_cards"
    (folder / "zoo").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('not to be imported')\n")
    (folder / "zoo" / "net.yaml").write_text("name: plankton/net\n")
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        importlib.metadata.EntryPoint(name, f"{target}:DOMAIN", registry.GROUP)
        for name, target in [("plankton", "plankton_cards"), ("gone", "no_such_package.inside")]
    ]
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: points)
    found = find_cards()
    assert found["plankton/net"].path == folder / "zoo" / "net.yaml"
    assert "biology/bioclip" in found


def test_reading_every_card_imports_nothing_slow(run_python):
    script = (
        "import sys\n"
        "from domainclip.zoo.catalogue import find_cards\n"
        "print(len([entry.read() for entry in find_cards().values()]))\n"
        "print(*(m for m in ('torch', 'numpy', 'pydantic', 'huggingface_hub') if m in sys.modules))"
    )
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    count, *heavy = done.stdout.split()
    assert int(count) >= 50 and heavy == []
