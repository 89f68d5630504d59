"""The caption styles and example captions that ship with the domains."""

import re
from dataclasses import replace

import pytest

from domainclip.captioning.prompts import find_examples, find_style, show_prompt, write_prompt
from domainclip.domains.labels import LabelTree
from domainclip.domains.registry import get_domain
from domainclip.testing import check_domain

BUNDLED = ("biology", "medical", "remote_sensing")


@pytest.fixture(params=BUNDLED)
def domain(request):
    return get_domain(request.param)


def test_each_domain_has_several_roles_and_groups(domain):
    assert len(domain.styles) >= 3 and "default" in domain.styles
    assert len(domain.examples()) >= 16 and "" in domain.examples()


def test_every_role_asks_about_every_label(domain):
    tree = domain.labels()
    for role in domain.styles:
        style = find_style(domain, role)
        for node in tree.leaves.tolist():
            text = show_prompt(write_prompt(domain, style, tree, node))
            names = [n for n in tree.all_names(node) if re.search(rf"\b{re.escape(n)}\b", text)]
            assert bool(names) is (style.names == "say"), (role, names)


def test_examples_fit_the_length_that_is_asked_for(domain):
    for captions in domain.examples().values():
        for caption in captions:
            assert 5 <= len(caption.split()) <= 25
            assert caption[0].isupper() and caption.endswith(".")


def test_examples_do_not_name_the_label_they_are_shown_for(domain):
    tree = domain.labels()
    for node in tree.leaves.tolist():
        shown = find_examples(domain, tree, node)
        assert shown
        for name in tree.all_names(node):
            assert not any(re.search(rf"\b{re.escape(name)}s?\b", c, re.I) for c in shown), name


@pytest.mark.parametrize(
    ("name", "columns", "word"),
    [
        ("biology", {"kingdom": ["Animalia"], "class": ["Aves"], "species": ["Pica pica"]}, "bill"),
        ("biology", {"kingdom": ["Fungi"], "species": ["Amanita muscaria"]}, "caps"),
        ("biology", {"class": ["Polypodiopsida"], "species": ["Athyrium"]}, "frond"),
        ("medical", {"lineage": ["leukocyte"], "series": ["monocytic series"]}, "folded"),
        ("medical", {"modality": ["radiograph"], "finding": ["effusion"]}, "lungs"),
        ("remote_sensing", {"cover": ["nature"], "kind": ["wet land"]}, "channels"),
    ],
)
def test_a_users_own_tree_finds_its_group(name, columns, word):
    tree = LabelTree.from_columns(columns)
    shown = find_examples(get_domain(name), tree, int(tree.leaves[0]))
    assert word in " ".join(shown)


def test_an_unknown_group_gets_the_examples_for_all(domain):
    tree = LabelTree.from_columns({"kind": ["Unheard of"]})
    assert find_examples(domain, tree, 0) == domain.examples()[""]


def test_the_suite_finds_faulty_styles():
    good = get_domain("medical")
    style = good.styles["default"]

    def problems(**parts):
        return [line for line in check_domain(replace(good, **parts)) if line.startswith("styles")]

    assert problems() == []
    assert "default" in problems(styles={"only": style})[0]
    assert problems(styles={"default": replace(style, goal=" ")})
    assert problems(styles={"default": replace(style, attend=())})
    assert problems(examples=lambda: {"leukocyte": ("A cell.",)})
    assert problems(examples=lambda: {"": ("nan",)})
    assert problems(examples=lambda: {"": "A cell."})
