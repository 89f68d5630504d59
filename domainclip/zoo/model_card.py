"""The model card: what a person has to know before using a model, filled from its folder.

The parts are those of Mitchell et al. 2019 (arXiv:1810.03993), in the form of the Hub: fields in
YAML, then text. Nothing is claimed that the folder does not tell; what is missing is said to be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any

import yaml

from domainclip import __version__

from . import statements
from .facts import Facts
from .licences import Licence
from .scores import score_index

TEMPLATE = Path(__file__).with_name("model_card.md")
TASK = "zero-shot-image-classification"


@dataclass(frozen=True)
class Publication:
    """What a publisher says, and no folder can tell."""

    repo: str
    """`organisation/name` that the model is sent to."""
    licence: Licence
    author: str = ""
    data_licence: str = ""
    """Of pictures whose source says none; "" where the publisher does not know either."""
    notes: str = ""
    """Markdown that the publisher adds."""
    year: int = 0
    """0 for this one."""

    @property
    def name(self) -> str:
        """The model's name without the organisation."""
        return self.repo.rpartition("/")[2]


def write_model_card(facts: Facts, publication: Publication) -> str:
    """Return the card as Markdown with a head of YAML."""
    said = publication
    year = said.year or datetime.now(UTC).year
    own = replace(facts.own, name=said.name, licence=said.licence.id)
    facts = replace(facts, steps=(own, *facts.steps[1:]))
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        head=yaml.safe_dump(front_matter(facts, said), sort_keys=False, allow_unicode=True),
        title=said.name,
        summary=statements.say_summary(facts),
        notices=statements.say_notices(facts),
        details=statements.say_details(facts, said.author or said.repo.partition("/")[0]),
        intended=statements.say_intended(facts),
        out_of_scope=statements.say_out_of_scope(facts),
        usage=statements.say_usage(facts, said.repo),
        data=statements.say_data(facts, said.data_licence),
        training=statements.say_training(facts),
        evaluation=statements.say_evaluation(facts),
        limits=statements.say_limits(facts) + (f"\n\n{said.notes.strip()}" if said.notes else ""),
        impact=statements.say_impact(facts),
        provenance=statements.say_provenance(facts),
        licence=statements.say_licence(facts, said.licence),
        citation=_citation(facts, said, year),
        contact=f"Written by domainclip {__version__} from the folder of the run, for "
        f"{said.author or said.repo.partition('/')[0]}. Questions: the discussions of this "
        "repository.",
    )
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def front_matter(facts: Facts, publication: Publication) -> dict[str, Any]:
    """Return the fields of the card's head, as the Hub names them."""
    licence, own = publication.licence, facts.own
    head: dict[str, Any] = {"license": licence.hub}
    if licence.hub == "other":
        head["license_name"] = licence.id.lower().replace(" ", "-")
        head |= {"license_link": licence.url} if licence.url else {}
    head |= {"language": ["en"], "library_name": "open_clip", "pipeline_tag": TASK}
    tags = ["clip", "domainclip", TASK, own.domain, "schematic-data" if own.schematic else ""]
    head["tags"] = list(dict.fromkeys(tag for tag in tags if tag))
    hubs = [one for step in facts.steps for one in step.hub_data]
    if hubs:
        head["datasets"] = list(dict.fromkeys(hubs))
    bases = [step.source for step in facts.steps[1:] if step.source]
    if bases:
        head |= {"base_model": bases[0], "base_model_relation": "finetune"}
    rows = facts.metrics.get("rows") or []
    source = own.data[0] if own.data else "unknown"
    index = score_index(
        rows,
        name=publication.name,
        dataset=source if source in hubs else f"{own.domain or 'own'}-pictures",
        dataset_title=statements.say_source(facts),
    )
    if index:
        kinds = [m["type"] for result in index[0]["results"] for m in result["metrics"]]
        head |= {"metrics": list(dict.fromkeys(kinds)), "model-index": index}
    if facts.emissions:
        head["co2_eq_emissions"] = statements.measured_emissions(facts)
    return head


def _citation(facts: Facts, said: Publication, year: int) -> str:
    author = said.author or said.repo.partition("/")[0]
    key = "".join(c if c.isalnum() else "_" for c in said.name)
    entry = (
        f"```bibtex\n@misc{{{key}_{year},\n  title = {{{said.name}}},\n  author = {{{author}}},\n"
        f"  year = {{{year}}},\n  howpublished = {{Hugging Face Hub, {said.repo}}},\n"
        f"  note = {{Made with domainclip {facts.own.domainclip or __version__}}}\n}}\n```"
    )
    named = [step.name for step in facts.steps[1:] if step.kind in ("zoo", "pretrained")]
    if named:
        entry += f"\n\nCite what it was made from as well: {', '.join(named)}."
    paper = str(statements.recipe_of(facts).get("about", {}).get("paper", ""))
    return entry + (f"\n\nThe method is that of {paper}." if paper else "")
