"""From what was asked for to a run: samples, knowledge, style, captioner, checks and store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from domainclip.data.captions import list_generations
from domainclip.data.samples import Samples, open_samples
from domainclip.domains.contract import CaptionStyle, Domain
from domainclip.errors import UsageError

from .briefs import Briefs, check_columns
from .checks import Checks
from .requests import Captioner
from .run import Captioned, caption_all
from .store import CaptionStore, parse_shard

if TYPE_CHECKING:
    from domainclip.endpoints.chat import Endpoints
    from domainclip.knowledge.lookup import KnowledgeBase
    from domainclip.model.clip import DomainClip

    from .verify import Verifier

SIZE = 224
"""Side in pixels of built-in pictures as captioners see them."""
TOWER = 77
"""Tokens that CLIP's text tower reads, where no model says otherwise."""
SURE = 225
"""Characters of a caption that fit into it: three a token, where English has more than four."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be captioned, by whom, and how; one attribute for each option."""

    domain: Domain
    data: str = "builtin"
    columns: Mapping[str, str] = field(default_factory=dict)
    splits: Sequence[str] = ()
    limit: int = 0
    folder: str = "captions"
    captioner: Literal["bank", "openai", "transformers"] = "bank"
    model: str = ""
    endpoints: Sequence[str] = ()
    key_env: str = "OPENAI_API_KEY"
    concurrency: int = 16
    timeout: float = 60.0
    price_in: float = 0.0
    price_out: float = 0.0
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    device: str = "auto"
    seed: int = 0
    role: str = "default"
    form: Literal["line", "sentence", "dense"] | None = None
    names: Literal["say", "omit"] | None = None
    max_words: int | None = None
    facts: str | None = None
    text_columns: Sequence[str] = ()
    tag_columns: Sequence[str] = ()
    verifier: str = ""
    verifier_model: str = ""
    verifier_key_env: str = ""
    score_model: str = ""
    score_quantile: float = 0.05
    strict: bool = False
    shard: str = "1/1"
    retry: bool = False
    show_prompt: str | None = None


class Job:
    """A run that is ready to start; what is costly is opened when it is first used.

    Raises:
        DataError: If the data cannot be used.
        UsageError: If something is asked for that there is not, or that does not go together.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.shard = parse_shard(asked.shard)
        _check_model(asked)
        self.kinship = _check_judge(asked)
        """A warning where the judge is of the writer's family, or ""."""
        self.style = _find_style(asked)
        self.samples: Samples = open_samples(
            asked.domain,
            asked.data,
            splits=asked.splits or None,
            columns=asked.columns,
            size=SIZE,
            seed=asked.seed,
            limit=asked.limit,
            used=(*asked.text_columns, *asked.tag_columns),
        )
        named = {"--text-columns": asked.text_columns, "--tag-columns": asked.tag_columns}
        check_columns(self.samples, named)
        self.briefs = Briefs(
            self.samples,
            self.knowledge,
            style=self.style if asked.captioner != "bank" else None,
            form=asked.form,
            max_words=asked.max_words,
            text_columns=asked.text_columns,
            tag_columns=asked.tag_columns,
            seed=asked.seed,
        )

    @cached_property
    def knowledge(self) -> KnowledgeBase:
        """What is known of the labels."""
        from domainclip.knowledge.lookup import open_knowledge

        path = Path(self.asked.facts).expanduser() if self.asked.facts else None
        if path is not None and not path.is_file():
            raise UsageError(
                f"{path}: no such file of knowledge",
                "domainclip knowledge fetch --store FILE makes one",
            )
        return open_knowledge(self.asked.domain, self.samples.tree, path)

    @cached_property
    def captioner(self) -> Captioner:
        """Who writes."""
        return {
            "bank": self._open_bank,
            "openai": self._open_openai,
            "transformers": self._open_transformers,
        }[self.asked.captioner]()

    @cached_property
    def checks(self) -> Checks:
        """What every caption has to pass."""
        limit, count = self._tower
        return Checks(
            self.samples.tree,
            self.knowledge,
            style=self.style,
            noun=self.asked.domain.noun,
            max_tokens=limit,
            count_tokens=count,
            strict=self.asked.strict,
        )

    @cached_property
    def verifier(self) -> Verifier | None:
        """Who looks at what was written, if anybody."""
        asked = self.asked
        if not asked.verifier:
            return None
        from .verify import Verifier

        return Verifier(
            self._serve([asked.verifier], asked.verifier_model, asked.verifier_key_env),
            self.knowledge.lexicon,
            tree=self.samples.tree,
            noun=asked.domain.noun,
        )

    @property
    def made_of(self) -> dict[str, Any]:
        """What makes these captions a generation of their own."""
        asked = self.asked
        made = {
            "captioner": self.captioner.name,
            "model": self.captioner.model,
            "model_revision": self.captioner.revision,
            "settings": dict(self.captioner.settings),
            "role": asked.role,
            **self.briefs.made_of,
        }
        if self.style is not None:
            made["names"] = self.style.names
        if asked.data == "builtin":  # under one id, another seed draws another picture
            made["pictures"] = {"source": "builtin", "size": SIZE}
        if asked.strict:
            made["strict"] = True
        if self.verifier:
            made["verifier"] = dict(self.verifier.made_of)
        return made

    @property
    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """(id, reason) of rows that have no picture."""
        return self.samples.unreadable

    def open_store(self) -> CaptionStore:
        """Open the store; its lock is held until it is closed.

        Raises:
            UsageError: If another process writes there, or captions of another domain lie there.
        """
        asked = self.asked
        _check_folder(asked.folder, asked.domain.name)
        data = {"source": asked.data, "seed": asked.seed, "columns": dict(asked.columns)}
        if asked.data != "builtin" and Path(asked.data).expanduser().exists():
            data["source"] = str(Path(asked.data).expanduser().resolve())
        return CaptionStore(asked.folder, self.made_of, self.shard, data=data, retry=asked.retry)

    def caption(self, store: CaptionStore, *, progress: bool = True) -> Captioned:
        """Caption what has no caption yet; see `caption_all`.

        Servers are asked once before any work, so that a wrong address, key or model ends it there.
        """
        notes = [*filter(None, [self.briefs.say_changed(store.knowledge)])]
        servers = [self._writers] if self.asked.captioner == "openai" else []
        servers += [self.verifier.endpoints] if self.verifier else []
        with ExitStack() as stack:
            for endpoints in servers:
                stack.enter_context(endpoints)
                if len(store.left(self.samples.ids)[0]):
                    notes += endpoints.check(pictures=True)
            result = caption_all(
                self.briefs,
                self.captioner,
                self.checks,
                store,
                verify=self.verifier.verify if self.verifier else None,
                progress=progress,
            )
        for account in (endpoints.account for endpoints in servers):
            notes += account.notes
            result.spent += account
        result.notes += dict.fromkeys([*filter(None, [self.kinship]), *notes])
        return result

    def check_all(self, store: CaptionStore) -> Counter[str]:
        """Check all captions of the store against each other; return what was found, by check."""
        from .checks.corpus import check_corpus

        asked = self.asked
        model = self._load(asked.score_model) if asked.score_model else None
        found = check_corpus(
            store.folder,
            samples=self.samples,
            model=model,
            quantile=asked.score_quantile,
            keep_scores=not asked.retry,
        )
        return Counter(verdict.check for several in found.values() for verdict in several)

    def show_prompt(self, sample: str) -> str:
        """Return exactly what would be sent for one sample, or that nothing would.

        Raises:
            UsageError: If there is no such sample.
        """
        from .prompts import show_prompt

        request = self.briefs.request(self.samples.find(sample))
        if request.prompt is not None and self.asked.captioner == "transformers":
            from .transformers import render_prompt

            return render_prompt(request.prompt, self.asked.model)
        if request.prompt is not None:
            return show_prompt(request.prompt)
        label = " > ".join(self.samples.tree.path(request.node))
        if not request.traits:
            return f"nothing is sent: the bank asks no language model; nothing is known of {label}"
        said = "\n".join(f"- {trait.text}" for trait in request.traits)
        return f"nothing is sent: the bank asks no language model\n\nabout {label} it has:\n{said}"

    @property
    def _tower(self) -> tuple[int, Callable[[str], int]]:
        """Return the tokens that a text may have, and what counts them."""

        def count(text: str) -> int:
            if len(text) < SURE:
                return 0
            return int((self._tokenizer([text], context_length=4 * TOWER) != 0).sum())

        return TOWER, count

    @cached_property
    def _tokenizer(self) -> Any:
        import open_clip

        return open_clip.get_tokenizer("ViT-B-32")

    def _open_bank(self) -> Captioner:
        from .bank import BankCaptioner

        asked = self.asked
        return BankCaptioner(
            self._load(asked.model) if asked.model else None,
            self.knowledge.lexicon,
            domain=asked.domain,
            tree=self.samples.tree,
            style=self.style,
            form=asked.form,
            names=asked.names,
            max_words=asked.max_words,
        )

    def _load(self, model: str) -> DomainClip:
        from domainclip.model.device import pick_device
        from domainclip.model.folder import load_model

        return load_model(model, device=pick_device(self.asked.device))

    def _open_openai(self) -> Captioner:
        from .openai import OpenAICaptioner

        return OpenAICaptioner(self._writers, **_sampling(self.asked))

    @cached_property
    def _writers(self) -> Endpoints:
        return self._serve(self.asked.endpoints, self.asked.model)

    def _serve(self, urls: Sequence[str], model: str, key_env: str = "") -> Endpoints:
        from domainclip.endpoints.chat import Endpoints

        asked = self.asked
        return Endpoints(
            urls,
            model,
            key_env=key_env or asked.key_env,
            concurrency=asked.concurrency,
            timeout=asked.timeout,
            price_in=asked.price_in,
            price_out=asked.price_out,
        )

    def _open_transformers(self) -> Captioner:
        from .transformers import TransformersCaptioner

        asked = self.asked
        return TransformersCaptioner(asked.model, device=asked.device, **_sampling(asked))


def _sampling(asked: Asked) -> dict[str, Any]:
    """Return the sampling settings that were given; captioners have defaults of their own."""
    given = {name: getattr(asked, name) for name in ("max_tokens", "temperature", "top_p")}
    return {name: value for name, value in given.items() if value is not None}


def _check_model(asked: Asked) -> None:
    """Refuse a captioner without what it needs."""
    unsent = asked.show_prompt is not None  # what is only shown needs no server
    if asked.captioner == "openai" and not (unsent or (asked.endpoints and asked.model)):
        missing = "--model" if asked.endpoints else "--endpoint"
        raise UsageError(
            f"the captioner openai needs {missing}",
            "--endpoint http://127.0.0.1:8000/v1 --model NAME, as the server calls it",
        )
    if asked.captioner == "transformers" and not asked.model:
        raise UsageError(
            "the captioner transformers needs --model", "a Hub id, or the folder of a model"
        )
    if asked.endpoints and asked.captioner != "openai":
        raise UsageError(
            f"the captioner {asked.captioner} asks no endpoint", "add --captioner openai"
        )
    if bool(asked.verifier) != bool(asked.verifier_model):
        missing = "--verifier-model" if asked.verifier else "--verifier"
        raise UsageError(f"a verifier needs {missing} too")


def _check_judge(asked: Asked) -> str:
    if not asked.verifier:
        return ""
    from .verify import check_judge

    return check_judge(
        asked.verifier_model,
        "" if asked.captioner == "bank" else asked.model,
        judge_urls=[asked.verifier],
        writer_urls=asked.endpoints,
    )


def _find_style(asked: Asked) -> CaptionStyle | None:
    """Return the style that is asked for, with the name policy that is; None for the bank alone."""
    from .prompts import find_style

    if not asked.domain.styles and asked.captioner == "bank" and asked.role == "default":
        return None
    style = find_style(asked.domain, asked.role)
    return replace(style, names=asked.names) if asked.names else style


def _check_folder(folder: str, domain: str) -> None:
    """Refuse a folder with captions of another domain: their built-in samples share ids."""
    for generation in list_generations(Path(folder).expanduser()):
        other = generation.made_of.get("domain", domain)
        if other != domain:
            raise UsageError(
                f"{folder} holds captions of the domain {other}",
                f"choose another folder, such as --out {Path(folder).name}-{domain}",
            )
