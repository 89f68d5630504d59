"""Our domains pass the public contract suite, and the suite finds what it should."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domainclip.domains.contract import Domain, PromptSet, TraitSheet
from domainclip.domains.registry import get_domain
from domainclip.testing import check_domain

PLANKTON = Path(__file__).parent / "plugs/domainclip-plankton/src/domainclip_plankton/__init__.py"

# domain -> seen labels, unseen labels
BUNDLED = {"biology": (40, 10), "medical": (15, 5), "remote_sensing": (18, 6)}


@pytest.fixture(params=BUNDLED)
def domain(request) -> Domain:
    return get_domain(request.param)


def test_bundled_domains_pass(domain):
    assert check_domain(domain) == []


def test_bundled_domains_are_as_large_as_promised(domain):
    counts = Counter(sheet.seen for sheet in domain.builtin.sheets())
    assert (counts[True], counts[False]) == BUNDLED[domain.name]
    assert domain.builtin.sizes["test"] >= 2000
    assert len(domain.ranks) >= 2


class Faults:
    """Functions of a domain with one fault each; built on a good domain by `replace`."""

    def __init__(self, good: Domain) -> None:
        self.good = good
        self.builtin = good.builtin
        self.sheets = good.builtin.sheets()

    def of(self, **parts: Any) -> Domain:
        return replace(self.good, **parts)

    def of_builtin(self, **parts: Any) -> Domain:
        return replace(self.good, builtin=replace(self.builtin, **parts))

    def of_sheets(self, *sheets: TraitSheet) -> Domain:
        return self.of_builtin(sheets=lambda: sheets)

    def with_first_traits(self, seen: bool, **traits: str) -> Domain:
        """The traits of the first seen or unseen sheet, changed."""
        first = next(s for s in self.sheets if s.seen is seen)
        changed = replace(first, traits={**first.traits, **traits})
        return self.of_sheets(*(changed if s is first else s for s in self.sheets))

    def name_of(self, sheet: TraitSheet) -> str:
        tree = self.good.labels()
        return tree.name(tree.node(sheet.label)) or ""


@pytest.fixture(scope="module")
def faults() -> Iterator[Faults]:
    """A good domain that is small, so that every fault is told in a moment."""
    spec = importlib.util.spec_from_file_location("domainclip_plankton", PLANKTON)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)  # pickle looks functions up there
        spec.loader.exec_module(module)
        yield Faults(module.DOMAIN)


def test_the_unspoilt_domain_passes(faults):
    assert check_domain(faults.good) == []


def a_trait(faults: Faults) -> str:
    """A trait that several labels have in several values."""
    return next(iter(faults.sheets[0].traits))


# what is told -> the fault that is planted
PLANTED: dict[str, Callable[[Faults], Domain]] = {
    "domain: 'Two Words' is not lower case": lambda f: f.of(name="Two Words"),
    "domain: title is empty": lambda f: f.of(title=" "),
    "domain: summary is empty or has more than one line": lambda f: f.of(summary="a\nb"),
    "domain: ranks are empty or repeated": lambda f: f.of(ranks=("x", "x")),
    "labels: the tree's ranks": lambda f: f.of(ranks=("x", "y")),
    "domain: vocabularies lacks": lambda f: f.of(vocabularies={"formal": "x"}),
    "domain: columns['label'] is no sequence": lambda f: f.of(columns={"label": "kind"}),
    "prompts: there is no 'default'": lambda f: f.of(prompts={"other": PromptSet()}),
    "prompts: 'default' is a str": lambda f: f.of(prompts={"default": "{}"}),
    "prompts: 'default' says nothing": lambda f: f.of(
        prompts={"default": PromptSet(clean=lambda name: "")}
    ),
    "labels: labels() returned a dict": lambda f: f.of(labels=dict),
    "labels: stopped by ZeroDivisionError": lambda f: f.of(labels=lambda: 1 / 0),
    "builtin.sheets: stopped by": lambda f: f.of_builtin(sheets=lambda: 1 / 0),
    "is not in the label tree": lambda f: f.of_sheets(
        *f.sheets, replace(f.sheets[0], label=("no", "such", "label"))
    ),
    "is no leaf of the label tree": lambda f: f.of_sheets(
        replace(f.sheets[0], label=f.sheets[0].label[:1]), *f.sheets[1:]
    ),
    "has two sheets": lambda f: f.of_sheets(*f.sheets, replace(f.sheets[0], traits={"a": "b"})),
    "have the same traits": lambda f: f.of_sheets(
        replace(f.sheets[0], traits=f.sheets[1].traits), *f.sheets[1:]
    ),
    "has traits that are missing or no text": lambda f: f.with_first_traits(
        True, **{a_trait(f): ""}
    ),
    "which 0 seen labels have: need two": lambda f: f.with_first_traits(
        False, **{a_trait(f): "never seen"}
    ),
    "labels are seen and 0 unseen": lambda f: f.of_sheets(
        *(replace(s, seen=True) for s in f.sheets)
    ),
    "builtin.individual": lambda f: f.of_builtin(
        individual=lambda sheet, rng: dict.fromkeys(sheet.traits, "other")
    ),
    "px is float64": lambda f: f.of_builtin(
        draw=lambda traits, rng, size: f.builtin.draw(traits, rng, size).astype(float)
    ),
    "at 96 px is uint8 of shape (64, 64, 3)": lambda f: f.of_builtin(
        draw=lambda traits, rng, size: f.builtin.draw(traits, rng, 64)
    ),
    "builtin.draw: %s differs for the same random generator": lambda f: f.of_builtin(
        draw=lambda traits, rng, size: f.builtin.draw(traits, np.random.default_rng(), size)
    ),
    "is the same picture for two random generators": lambda f: f.of_builtin(
        draw=lambda traits, rng, size: f.builtin.draw(traits, np.random.default_rng(7), size)
    ),
    "is an empty picture": lambda f: f.of_builtin(
        draw=lambda traits, rng, size: np.zeros((size, size, 3), np.uint8)
    ),
    "builtin.draw: {trait}": lambda f: f.of_builtin(
        draw=lambda traits, rng, size: f.builtin.draw(
            {**traits, a_trait(f): f.sheets[0].traits[a_trait(f)]}, rng, size
        )
    ),
    "builtin.captions: %s gives away the name": lambda f: f.of_builtin(
        captions=lambda traits, rng: tuple(f"This is {f.name_of(s)}S." for s in f.sheets)
    ),
    "builtin.captions: %s has no texts": lambda f: f.of_builtin(captions=lambda traits, rng: ()),
    "builtin.captions: %s has an empty text": lambda f: f.of_builtin(
        captions=lambda traits, rng: (" ",)
    ),
    "individuals share the first caption": lambda f: f.of_builtin(
        captions=lambda traits, rng: ("A picture.",)
    ),
    "builtin.describe: %s gives away the name": lambda f: f.of_builtin(
        describe=lambda traits: tuple(f"This is {f.name_of(s)}." for s in f.sheets)
    ),
    "are described alike": lambda f: f.of_builtin(describe=lambda traits: ("A picture.",)),
    "builtin.describe: {trait}": lambda f: f.of_builtin(
        describe=lambda traits: f.builtin.describe(
            {**traits, a_trait(f): f.sheets[0].traits[a_trait(f)]}
        )
    ),
    "builtin.sizes: the split 'val' has None": lambda f: f.of_builtin(
        sizes={"train": 1, "test": 1, "test_unseen": 1}
    ),
    "builtin.sizes: there are no splits ['dev']": lambda f: f.of_builtin(
        sizes={**f.builtin.sizes, "dev": 3}
    ),
    "augment: a picture of shape (72, 72, 3) came back as": lambda f: f.of(
        augment=lambda size, crop=1: lambda image: {"image": image}
    ),
    "augment: a picture came back as float32": lambda f: f.of(
        augment=lambda size, crop=1: lambda image: {"image": image[:size, :size].astype(np.float32)}
    ),
    "functions: augment cannot be sent to a worker": lambda f: f.of(
        augment=lambda size, crop=1: f.good.augment(size, crop)
    ),
    "functions: prompts['default'] cannot be sent": lambda f: f.of(
        prompts={"default": PromptSet(clean=lambda name: name.lower())}
    ),
    "functions: builtin.draw cannot be sent": lambda f: f.of_builtin(
        draw=lambda traits, rng, size: f.builtin.draw(traits, rng, size)
    ),
}


@pytest.mark.parametrize("told", PLANTED)
def test_a_planted_fault_is_told(told: str, faults: Faults):
    problems = check_domain(PLANTED[told](faults))
    wanted = told.replace("{trait}", a_trait(faults))
    before, _, after = wanted.partition("%s")
    assert any(before in p and after in p for p in problems), problems
