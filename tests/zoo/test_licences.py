"""What licences say and allow, and when a model may be published."""

import pytest

from domainclip.errors import UsageError
from domainclip.zoo.judging import Work, judge, propose_licence
from domainclip.zoo.licences import choose_licence, narrow, read_licence


@pytest.mark.parametrize(
    ("said", "id"),
    [
        ("mit", "MIT"),
        ("MIT License", "MIT"),
        ("https://opensource.org/license/mit/", "MIT"),
        ("Apache 2.0", "Apache-2.0"),
        ("http://www.apache.org/licenses/LICENSE-2.0", "Apache-2.0"),
        ("CC BY-NC 4.0", "CC-BY-NC-4.0"),
        ("CC-BY-SA-2.5", "CC-BY-SA-2.5"),
        ("CC BY NC", "CC-BY-NC"),
        ("CC_BY_NC_4_0", "CC-BY-NC-4.0"),
        ("CC0_1_0", "CC0-1.0"),
        ("http://creativecommons.org/licenses/by-nc/4.0/legalcode", "CC-BY-NC-4.0"),
        ("https://creativecommons.org/licenses/by-nd-nc/1.0/", "CC-BY-NC-ND-1.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/legalcode", "CC0-1.0"),
        ("http://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0", "CC-BY-NC-SA-4.0"),
        ("(c) Ann, some rights reserved (CC BY-NC-SA)", "CC-BY-NC-SA"),
        ("(c) Ann, all rights reserved", "all rights reserved"),
        ("© 2020 Ann", "all rights reserved"),
        ("GPL-3.0-or-later", "GPL-3.0"),
        ("health-ai-developer-foundations", "HAI-DEF"),
        ("UNSPECIFIED", "unknown"),
        ("", "unknown"),
        ("see paper", "see paper"),
    ],
)
def test_words_of_publishers_are_read(said, id):
    assert read_licence(said).id == id


@pytest.mark.parametrize(
    ("said", "commercial", "derivatives", "share_alike"),
    [
        ("MIT", "yes", "yes", False),
        ("CC-BY-NC-4.0", "no", "yes", False),
        ("CC-BY-NC-ND-4.0", "no", "no", False),
        ("CC-BY-ND-4.0", "yes", "no", False),
        ("CC-BY-SA-4.0", "yes", "yes", True),
        ("HAI-DEF", "yes", "yes", True),
        ("see paper", "unknown", "unknown", False),
    ],
)
def test_what_licences_allow(said, commercial, derivatives, share_alike):
    found = read_licence(said)
    assert (found.commercial, found.derivatives, found.share_alike) == (
        commercial, derivatives, share_alike,
    )  # fmt: skip
    assert found.known == (commercial != "unknown")


def test_the_hubs_words_are_those_of_its_list():
    assert read_licence("CC-BY-NC-4.0").hub == "cc-by-nc-4.0"
    assert read_licence("CC-BY-NC-ND-2.0").hub == "other"  # not on the Hub's list
    assert read_licence("HAI-DEF").hub == "other"


def test_a_model_is_published_under_a_licence_with_a_version():
    assert choose_licence("cc by").id == "CC-BY-4.0"
    with pytest.raises(UsageError, match="not known") as refused:
        choose_licence("MTI")
    assert "MIT" in refused.value.hint
    with pytest.raises(UsageError, match="nobody could use"):
        choose_licence("all rights reserved")


def test_a_card_fills_gaps_of_a_licence_and_narrows_it():
    odd = read_licence("odd")
    assert narrow(odd, commercial="no", derivatives="yes").known
    assert narrow(odd, commercial="no", derivatives="yes").commercial == "no"
    assert not narrow(odd, commercial="unknown", derivatives="yes").known
    assert narrow(read_licence("MIT"), commercial="no", derivatives="yes").commercial == "no"
    nd = narrow(read_licence("CC-BY-ND-4.0"), commercial="yes", derivatives="yes")
    assert nd.derivatives == "no"  # a card cannot give what the licence does not


def works(**said):
    kinds = {"model": "model"}
    return [Work(f"the {what}", read_licence(lic), kinds.get(what, "data"))
            for what, lic in said.items()]  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "made_of", "word"),
    [
        ("MIT", {"data": "CC-BY-ND-4.0"}, "the data (CC-BY-ND-4.0) may not be passed on when"),
        ("MIT", {"data": "all rights reserved"}, "may not be passed on"),
        ("MIT", {"model": "CC-BY-NC-4.0"}, "forbids commercial use, which MIT would allow"),
        ("MIT", {"data": "CC BY-NC"}, "forbids commercial use"),
        ("CC-BY-NC-4.0", {"model": "CC-BY-NC-ND-4.0"}, "the model (CC-BY-NC-ND-4.0) may not be"),
        ("CC-BY-4.0", {"model": "CC-BY-SA-4.0"}, "under its own terms only"),
        ("MIT", {"model": "HAI-DEF"}, "under its own terms only"),
    ],
)
def test_what_forbids_is_named(chosen, made_of, word):
    verdict = judge(read_licence(chosen), works(**made_of))
    assert len(verdict.refused) == 1 and word in verdict.refused[0]
    assert verdict.way_on


@pytest.mark.parametrize(
    ("chosen", "made_of"),
    [
        ("MIT", {"data": "CC0-1.0", "model": "Apache-2.0"}),
        ("CC-BY-NC-4.0", {"data": "CC-BY-NC-SA-4.0", "model": "CC-BY-NC-4.0"}),
        ("CC-BY-SA-4.0", {"model": "CC-BY-SA-3.0"}),
        ("HAI-DEF", {"model": "HAI-DEF"}),
    ],
)
def test_what_goes_together(chosen, made_of):
    assert judge(read_licence(chosen), works(**made_of)).refused == ()


def test_the_unknown_is_told_apart_and_shared_pictures_are_warned_of():
    verdict = judge(read_licence("MIT"), works(data="see paper", model="CC0-1.0"))
    assert (verdict.refused, verdict.unknown) == ((), ("the data: see paper",))
    assert judge(read_licence("MIT"), works(data="CC-BY-SA-4.0")).warnings


@pytest.mark.parametrize(
    ("made_of", "proposed"),
    [
        ({"data": "MIT"}, "MIT"),
        ({"data": "CC-BY-NC-4.0"}, "CC-BY-NC-4.0"),
        ({"data": "MIT", "model": "Apache-2.0"}, "Apache-2.0"),
        ({"data": "CC-BY-NC-4.0", "model": "Apache-2.0"}, "CC-BY-NC-4.0"),
        ({"model": "CC-BY-SA-4.0"}, "CC-BY-SA-4.0"),
        ({"data": "CC-BY-NC-4.0", "model": "CC-BY-SA-4.0"}, ""),
        ({"data": "see paper"}, ""),
        ({"data": "CC-BY-ND-4.0"}, ""),
    ],
)
def test_a_licence_is_proposed_where_one_is_right(made_of, proposed):
    assert propose_licence(works(**made_of)) == proposed
