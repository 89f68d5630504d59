"""The public contract suite: whoever adds a domain runs `check_domain` on it, as we do on ours."""

from __future__ import annotations

import os
import pickle
import re
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import get_args

import numpy as np

from domainclip.captioning.examples import is_blank
from domainclip.domains.contract import (
    COMMON,
    FORMAL,
    BuiltinData,
    Domain,
    PromptSet,
    Split,
    Traits,
    TraitSheet,
)
from domainclip.domains.labels import LabelTree
from domainclip.knowledge.lexicon import Lexicon

SIZES = (64, 96)
"""Sides in pixels at which pictures are drawn; none is special, so two are tried."""

INDIVIDUALS = 12
"""Individuals drawn of one label to see whether they differ."""


def check_domain(domain: Domain) -> list[str]:
    """Check everything that the contract asks of a domain.

    Nothing is written and no network is used; it takes a few seconds.

    Args:
        domain: The value that a plug offers.

    Returns:
        One line a problem, saying what and where; empty if the domain passes.
    """
    problems: list[str] = []
    for part, check in _CHECKS.items():
        try:
            problems.extend(f"{part}: {problem}" for problem in check(domain))
        except Exception as error:
            problems.append(f"{part}: stopped by {_where(error)}")
    return problems


def _check_names(domain: Domain) -> Iterator[str]:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", domain.name):
        yield f"{domain.name!r} is not lower case with underscores"
    for part in ("title", "summary", "noun", "recipe"):
        text = getattr(domain, part)
        if not text.strip() or "\n" in text:
            yield f"{part} is empty or has more than one line: {text!r}"
    if not domain.ranks or len(set(domain.ranks)) != len(domain.ranks) or "" in domain.ranks:
        yield f"ranks are empty or repeated: {domain.ranks}"
    for vocabulary in (FORMAL, COMMON):
        if not domain.vocabularies.get(vocabulary, "").strip():
            yield f"vocabularies lacks what people call the {vocabulary!r} names"
    for part, names in domain.columns.items():
        if isinstance(names, str) or not all(isinstance(n, str) and n for n in names):
            yield f"columns[{part!r}] is no sequence of column names: {names!r}"


def _check_prompts(domain: Domain) -> Iterator[str]:
    if "default" not in domain.prompts:
        yield f"there is no 'default' among {sorted(domain.prompts)}"
    for name, prompts in domain.prompts.items():
        if not isinstance(prompts, PromptSet):
            yield f"{name!r} is a {type(prompts).__name__}, not a PromptSet"
        elif not all(sentence.strip() for sentence in prompts.say("Name")):
            yield f"{name!r} says nothing for the name 'Name'"


def _check_labels(domain: Domain) -> Iterator[str]:
    tree = domain.labels()
    if not isinstance(tree, LabelTree):
        yield f"labels() returned a {type(tree).__name__}, not a LabelTree"
        return
    if tuple(tree.ranks) != tuple(domain.ranks):
        yield f"the tree's ranks {tuple(tree.ranks)} are not the domain's {domain.ranks}"
    if len(tree.leaves) == 0:
        yield "the tree has no labels"
    if domain.labels().digest() != tree.digest():
        yield "labels() returned two different trees for two calls"
    keys: dict[tuple[str, ...], int] = {}
    for node in range(len(tree)):
        key = tree.key(node)
        if key in keys:
            yield f"nodes {keys[key]} and {node} are both {_label(key)}"
        keys[key] = node
        parent = int(tree.parent[node])
        if parent >= 0 and tree.rank[parent] >= tree.rank[node]:
            yield f"{_label(key)} is not below the rank of its parent {tree.name(parent)}"


def _check_sheets(domain: Domain) -> Iterator[str]:
    tree, sheets = domain.labels(), domain.builtin.sheets()
    seen = [sheet for sheet in sheets if sheet.seen]
    if len(seen) < 2 or len(sheets) - len(seen) < 2:
        yield f"{len(seen)} labels are seen and {len(sheets) - len(seen)} unseen: need two of each"
    for sheet in sheets:
        yield from _check_label(tree, sheet)
    for one, other in combinations(sheets, 2):
        if one.label == other.label:
            yield f"{_label(one.label)} has two sheets"
        if dict(one.traits) == dict(other.traits):
            yield f"{_label(one.label)} and {_label(other.label)} have the same traits"
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    for sheet in seen:
        for item in sheet.traits.items():
            counts[item] += 1
    for sheet in sheets:
        for (name, value), count in ((i, counts[i]) for i in sheet.traits.items()):
            if not sheet.seen and count < 2:
                yield (
                    f"{_label(sheet.label)}, which is unseen, has {name} {value!r}, "
                    f"which {count} seen labels have: need two"
                )


def _check_label(tree: LabelTree, sheet: TraitSheet) -> Iterator[str]:
    try:
        node = tree.node(sheet.label)
    except Exception as error:
        yield f"{_label(sheet.label)} is not in the label tree ({error})"
        return
    if node not in tree.leaves:
        yield f"{_label(sheet.label)} is no leaf of the label tree"
    bad = {n: v for n, v in sheet.traits.items() if not (isinstance(v, str) and v.strip())}
    if bad or not sheet.traits:
        yield f"{_label(sheet.label)} has traits that are missing or no text: {bad}"


def _check_individuals(domain: Domain) -> Iterator[str]:
    for sheet in domain.builtin.sheets():
        first, again = (domain.builtin.individual(sheet, _rng(0)) for _ in range(2))
        if first != again:
            yield f"{_label(sheet.label)} differs for the same random generator"
        for name in first.keys() & sheet.traits.keys():
            if first[name] != sheet.traits[name]:
                yield f"{_label(sheet.label)} contradicts its sheet in {name!r}"
        if bad := {n: v for n, v in first.items() if not isinstance(v, str)}:
            yield f"{_label(sheet.label)} has traits that are no text: {bad}"


def _check_draw(domain: Domain) -> Iterator[str]:
    builtin = domain.builtin
    for sheet in builtin.sheets():
        label, traits = _label(sheet.label), _all_traits(builtin, sheet, 0)
        for size in SIZES:
            picture = builtin.draw(traits, _rng(0), size)
            if picture.shape != (size, size, 3) or picture.dtype != np.uint8:
                yield f"{label} at {size} px is {picture.dtype} of shape {picture.shape}"
        if not np.array_equal(picture, builtin.draw(traits, _rng(0), SIZES[-1])):
            yield f"{label} differs for the same random generator"
        if np.array_equal(picture, builtin.draw(traits, _rng(1), SIZES[-1])):
            yield f"{label} is the same picture for two random generators"
        if np.ptp(picture.astype(np.int16)) < 16:
            yield f"{label} is an empty picture"
    yield from _unused(
        domain, lambda traits: builtin.draw(traits, _rng(0), SIZES[0]).tobytes(), individual=True
    )


def _check_captions(domain: Domain) -> Iterator[str]:
    builtin, tree = domain.builtin, domain.labels()
    for sheet in builtin.sheets():
        label, firsts = _label(sheet.label), set()
        names = _names(tree, sheet)
        for seed in range(INDIVIDUALS):
            traits = _all_traits(builtin, sheet, seed)
            captions = builtin.captions(traits, _rng(seed))
            if captions != builtin.captions(traits, _rng(seed)):
                yield f"{label} differs for the same random generator"
            if problem := _bad_texts(captions, names):
                yield f"{label} {problem}"
                break
            firsts.add(captions[0])
        else:
            if len(firsts) < 2:
                yield f"{label}: {INDIVIDUALS} individuals share the first caption {captions[0]!r}"


def _check_describe(domain: Domain) -> Iterator[str]:
    builtin, tree = domain.builtin, domain.labels()
    said: dict[tuple[str, ...], str] = {}
    for sheet in builtin.sheets():
        label, texts = _label(sheet.label), tuple(builtin.describe(sheet.traits))
        if problem := _bad_texts(texts, _names(tree, sheet)):
            yield f"{label} {problem}"
        if texts in said:
            yield f"{label} and {said[texts]} are described alike: {texts}"
        said[texts] = label
    yield from _unused(domain, builtin.describe, individual=False)


def _check_sizes(domain: Domain) -> Iterator[str]:
    for split in get_args(Split):
        size = domain.builtin.sizes.get(split)
        if not isinstance(size, int) or size < 1:
            yield f"the split {split!r} has {size} pictures"
    if extra := set(domain.builtin.sizes) - set(get_args(Split)):
        yield f"there are no splits {sorted(extra)}"


def _check_augment(domain: Domain) -> Iterator[str]:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it calls the network at import
    for size in SIZES:
        side = size * 9 // 8  # packed pictures keep a margin of an eighth
        source = _rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        for transform in (domain.augment(size), domain.augment(size, crop=0.5)):
            image = transform(image=source)["image"]
            if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
                yield f"a picture came back as {getattr(image, 'dtype', type(image).__name__)}"
            elif image.shape != (size, size, 3):
                yield f"a picture of shape {source.shape} came back as {image.shape}, not {size} px"


def _check_knowledge(domain: Domain) -> Iterator[str]:
    if domain.knowledge is None:
        return
    words = domain.knowledge.words()
    lists = {
        f"phrases[{trait!r}][{value!r}]": ways
        for trait, values in words.phrases.items()
        for value, ways in values.items()
    }
    for part in ("parts", "qualities"):
        lists |= {f"{part}[{name!r}]": ways for name, ways in getattr(words, part).items()}
    lists |= {name: getattr(words, name) for name in ("hidden", "some", "uncounted")}
    for part, ways in lists.items():
        if bad := [word for word in ways if word != word.lower() or not word.strip()]:
            yield f"words.{part} are not all lower case: {bad}"
    if extra := sorted(words.only.keys() - words.parts.keys()):
        yield f"words.only has parts that words.parts lacks: {extra}"
    if not domain.knowledge.wiki.sections:
        yield "wiki.sections is empty"
    lexicon = Lexicon(words)  # a place for a trait that does not exist stops it
    for sheet in domain.builtin.sheets():
        label, traits = _label(sheet.label), _all_traits(domain.builtin, sheet, 0)
        said = lexicon.say(traits)
        read = {(c.trait, c.value) for text in said.values() for c in lexicon.claims(text)}
        for name, value in sheet.traits.items():
            if (name, value) not in read:
                yield f"{label}: {name} {value!r} cannot be said and read back: {said.get(name)!r}"
        for text in domain.builtin.captions(traits, _rng(0)):
            for claim in lexicon.claims(text):
                if claim.trait in traits and (traits[claim.trait] == claim.value) is claim.negated:
                    yield f"{label}: {text!r} is read as {claim.trait} {claim.value!r}"


def _check_styles(domain: Domain) -> Iterator[str]:
    if domain.styles and "default" not in domain.styles:
        yield f"there is no 'default' among {sorted(domain.styles)}"
    for role, style in domain.styles.items():
        lines = (style.role, style.goal, *style.attend, *style.avoid)
        if bad := [line for line in lines if is_blank(line) or "\n" in line]:
            yield f"{role!r} has lines that are blank or not one line: {bad}"
        if not style.attend or style.max_words < 1 or style.excerpt < 0:
            yield f"{role!r} attends to nothing, or has a length below what makes sense"
    examples = domain.examples()
    if (domain.styles or examples) and "" not in examples:
        yield "examples lack the entry '', for labels of no group"
    for group, captions in examples.items():
        if isinstance(captions, str) or not captions or any(map(is_blank, captions)):
            yield f"examples[{group!r}] is no sequence of captions: {captions!r}"


def _check_functions(domain: Domain) -> Iterator[str]:
    builtin = domain.builtin
    functions: dict[str, object] = {"labels": domain.labels, "augment": domain.augment}
    for part in ("sheets", "individual", "draw", "captions", "describe"):
        functions[f"builtin.{part}"] = getattr(builtin, part)
    functions |= {f"prompts[{name!r}]": prompts for name, prompts in domain.prompts.items()}
    functions |= {"read_image": domain.read_image, "examples": domain.examples}
    functions["knowledge.words"] = domain.knowledge and domain.knowledge.words
    for part, function in functions.items():
        try:
            pickle.loads(pickle.dumps(function))
        except Exception as error:
            yield f"{part} cannot be sent to a worker process ({error}): use a module's function"


_CHECKS: Mapping[str, Callable[[Domain], Iterator[str]]] = {
    "domain": _check_names,
    "prompts": _check_prompts,
    "labels": _check_labels,
    "builtin.sheets": _check_sheets,
    "builtin.individual": _check_individuals,
    "builtin.draw": _check_draw,
    "builtin.captions": _check_captions,
    "builtin.describe": _check_describe,
    "builtin.sizes": _check_sizes,
    "augment": _check_augment,
    "knowledge": _check_knowledge,
    "styles": _check_styles,
    "functions": _check_functions,
}


def _unused(
    domain: Domain, render: Callable[[Traits], object], *, individual: bool
) -> Iterator[str]:
    """Yield the trait values that make no difference to what `render` returns, in any label.

    A value may rest on another one (the colour of spots on that there are spots), so one label in
    which it tells is enough.
    """
    builtin = domain.builtin
    cases: dict[tuple[str, str], list[Traits]] = defaultdict(list)
    for sheet in builtin.sheets():
        several: list[Traits] = [sheet.traits]
        if individual:
            several = [_all_traits(builtin, sheet, seed) for seed in range(INDIVIDUALS)]
        for item, traits in {item: one for one in several for item in one.items()}.items():
            cases[item].append(traits)  # one a label is enough
    values: dict[str, set[str]] = defaultdict(set)
    for name, value in cases:
        values[name].add(value)
    for name, value in cases:
        others = sorted(values[name] - {value})
        swaps = [(traits, other) for other in others for traits in cases[name, value]]
        swaps += [(traits, value) for other in others for traits in cases[name, other]]
        alike = False
        for traits, other in swaps:
            differs = _differs(render, traits, name, other)
            if differs:
                break
            alike = alike or differs is False
        else:
            if alike:
                yield f"{name} {value!r} is not told from {', '.join(map(repr, others))}"


def _differs(
    render: Callable[[Traits], object], traits: Traits, name: str, value: str
) -> bool | None:
    """Return whether another value of one trait tells; None for a combination that no label has."""
    try:
        return render(traits) != render({**traits, name: value})
    except (KeyError, ValueError):
        return None


def _bad_texts(texts: tuple[str, ...], names: list[str]) -> str:
    """Return what is wrong with sentences that must not give the label away, or ""."""
    if not isinstance(texts, tuple) or not texts:
        return f"has no texts: {texts!r}"
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            return f"has an empty text among {texts!r}"
        for name in names:
            if re.search(rf"\b{re.escape(name)}(s|es)?\b", text, re.IGNORECASE):
                return f"gives away the name {name!r} in {text!r}"
    return ""


def _names(tree: LabelTree, sheet: TraitSheet) -> list[str]:
    node = tree.node(sheet.label)
    names = {tree.name(node, FORMAL), tree.name(node, COMMON), *tree.synonyms(node)}
    return sorted(name for name in names if name)


def _all_traits(builtin: BuiltinData, sheet: TraitSheet, seed: int) -> dict[str, str]:
    return {**sheet.traits, **builtin.individual(sheet, _rng(seed))}


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _label(key: tuple[str, ...]) -> str:
    return " > ".join(name or "-" for name in key)


def _where(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
