"""Sending a planned publication to the Hub: one commit, whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from domainclip.errors import DomainclipError, UsageError

from .push import FILES, Plan

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LOGIN = "hf auth login, or set HF_TOKEN to a token that may write"


class HubError(DomainclipError):
    """The Hub did not do what it was asked."""


def send(plan: Plan) -> str:
    """Publish a model and return the address of the commit.

    The token is that of `HF_TOKEN` or of the Hub client's login.

    Raises:
        UsageError: If there is no token.
        HubError: If the Hub refuses, or cannot be reached; nothing was committed then.
    """
    import huggingface_hub

    token = huggingface_hub.get_token()
    if not token:
        raise UsageError("nobody is logged in to the Hub", LOGIN)
    api = huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    made: list[str] = []
    try:
        return _send(api, plan, made)
    except DomainclipError:
        raise
    except Exception as error:
        refusal = _refusal(error, plan, token, str(api.endpoint))
        if refusal is None:
            raise
        if made:
            refusal.hint += "; an empty repository stays there, which the next try fills"
        raise refusal from None  # the client's own text may hold headers


def _refusal(error: Exception, plan: Plan, token: str, endpoint: str) -> HubError | None:
    """Say what an error of the Hub's client means for a person; None for one that is a mistake."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]

    failed = f"{plan.repo} was not published: "
    if isinstance(error, OfflineModeIsEnabled):
        return HubError(
            f"{failed}the Hub client is offline",
            "unset HF_HUB_OFFLINE, or publish from a machine that has network",
        )
    if isinstance(error, HfHubHTTPError):
        return _explain(error, plan)
    if isinstance(error, TransportError):
        return HubError(
            f"{failed}{endpoint} cannot be reached ({type(error).__name__})",
            "nothing was committed; check the network and run the command again",
        )
    if isinstance(error, (OSError, ValueError, RuntimeError)):
        return HubError(
            f"{failed}{_one_line(error, token)}", "nothing was committed; run the command again"
        )
    return None


def _send(api: HfApi, plan: Plan, made: list[str]) -> str:
    """Send, and note in `made` that a repository was made for it."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api.create_repo(plan.repo, private=plan.private or None)
        made.append(plan.repo)
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        # A member may write to what is there without the right to make more.
        if status != 409 and not (status == 403 and api.repo_exists(plan.repo)):
            raise
    info = api.model_info(plan.repo)
    if plan.private and not info.private:
        raise UsageError(
            f"{plan.repo} is there already, and public",
            "leave out --private, or publish under another name",
        )
    changes: list[Any] = [
        CommitOperationAdd(path_in_repo=piece.name, path_or_fileobj=piece.content)
        for piece in plan.pieces
    ]
    stale = {one.rfilename for one in info.siblings or ()} & FILES - {p.name for p in plan.pieces}
    changes += [CommitOperationDelete(path_in_repo=name) for name in sorted(stale)]
    told = api.create_commit(
        plan.repo,
        changes,
        commit_message=f"Publish {plan.repo.rpartition('/')[2]}",
        parent_commit=info.sha,
    )
    return str(told.commit_url)


def _explain(error: Any, plan: Plan) -> HubError:
    """Say what a refusal of the Hub means; the token is in none of it."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    wait = response.headers.get("Retry-After", "") if response is not None else ""
    organisation = plan.repo.partition("/")[0]
    failed = f"{plan.repo} was not published: "
    if status == 401:
        return HubError(f"{failed}the Hub does not know the token, or it has expired", LOGIN)
    if status == 403:
        return HubError(
            f"{failed}the token may not write to {organisation}",
            f"publish under a name of your own, or ask {organisation} to let you in",
        )
    if status == 404:
        return HubError(f"{failed}the token cannot see {plan.repo}", LOGIN)
    if status == 412:
        return HubError(
            f"{failed}somebody else has changed {plan.repo} meanwhile", "look there, then again"
        )
    if status == 429:
        when = f"in {wait} seconds" if wait else "in a few minutes"
        return HubError(f"{failed}the Hub got too many requests", f"run the command again {when}")
    if status >= 500:
        return HubError(f"{failed}the Hub has trouble of its own ({status})", "try again later")
    said = response.headers.get("X-Error-Message", "") if response is not None else ""
    return HubError(
        f"{failed}the Hub answers {status or 'nothing'}{f': {said}' if said else ''}",
        "nothing was committed",
    )


def _one_line(error: Exception, token: str) -> str:
    text = " ".join(str(error).replace(token, "…").split())
    return text[:300] or type(error).__name__
