"""Files of a model hub at a pinned commit: each is fetched so that a stop costs next to nothing.

huggingface_hub 2.4 begins a file anew when its process was killed (`_download_to_tmp_and_move`: a
name of its own for each try). So listing, tokens, addresses and errors are the client's, and the
bytes of a file are asked for from where the last try ended, as RFC 9110, section 14, has it.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from domainclip import __version__
from domainclip.errors import DataError, DomainclipError

from .refusals import BUSY, explain, say_connection, status_of, wait_of

T = TypeVar("T")
Say = Callable[[str], None]
TRIES = 5
"""Tries in a row that bring nothing."""
LONGEST_WAIT = 120
"""Seconds; a hub that asks for more is told to the user instead."""
TIMEOUT = 30
LATER = "the same command goes on where it stopped"


@dataclass(frozen=True)
class HubFile:
    """A file as the hub lists it."""

    name: str
    size: int | None
    sha256: str = ""
    """Of a large file; the hub lists no SHA-256 of others."""
    oid: str = ""
    """Git's: the SHA-1 of the length and the content."""


@dataclass(frozen=True)
class Listing:
    """What a repository holds at a commit."""

    repo: str
    repo_type: str
    commit: str
    files: dict[str, HubFile]


class Hub:
    """The hub that `HF_ENDPOINT` names, else Hugging Face's, seen with the user's token.

    Args:
        say: Told what a person who waits wants to know.
    """

    def __init__(self, say: Say = lambda text: None) -> None:
        from huggingface_hub import constants

        self.endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
        self.say = say

    def page(self, repo: str, repo_type: str = "model") -> str:
        """Return the address of a repository."""
        return f"{self.endpoint}/{'' if repo_type == 'model' else f'{repo_type}s/'}{repo}"

    def look(self, repo: str, repo_type: str = "model", revision: str = "") -> Listing:
        """Return what a repository holds.

        Args:
            repo: `organisation/name`.
            repo_type: `model` or `dataset`.
            revision: A commit; "" for the newest.

        Raises:
            DomainclipError: If the hub cannot be reached, or does not let this user see it.
            DataError: If a file's name leads out of the folder, or the commit is another one.
        """
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint, library_name="domainclip", library_version=__version__)
        info = self._patiently(
            lambda: api.repo_info(
                repo,
                repo_type=repo_type,
                revision=revision or None,
                files_metadata=True,
                timeout=TIMEOUT,
            ),
            repo, repo_type, revision,
        )  # fmt: skip
        commit = str(info.sha)
        if (revision and commit != revision) or not re.fullmatch(r"[0-9a-f]{40}", commit):
            asked = revision or "a commit"
            raise DataError(f"asked for {asked} of {repo}, {self.endpoint} answers with {commit}")
        files = {}
        for one in getattr(info, "siblings", None) or ():
            check_name(one.rfilename, f"{repo} at {commit[:12]}")
            sha256 = str(one.lfs.sha256) if one.lfs else ""
            # Of a large file the hub's oid is that of the pointer that git keeps.
            oid = "" if one.lfs else str(one.blob_id or "")
            files[one.rfilename] = HubFile(one.rfilename, one.size, sha256, oid)
        return Listing(repo, repo_type, commit, files)

    def fetch(
        self, listing: Listing, name: str, to: Path, tell: Callable[[int], None] = lambda n: None
    ) -> str:
        """Fetch a file, from where an earlier try ended, and return its SHA-256.

        Args:
            listing: What the repository holds.
            name: A file of it.
            to: Where the whole file goes; until then it lies beside, as `.partial`.
            tell: Told of bytes as they come, of those already there at once.

        Raises:
            DomainclipError: If it cannot be had now; what came is kept.
            DataError: If what came is not what the hub lists; that is removed.
        """
        file = self._measured(listing, name)
        size = int(file.size or 0)
        if to.is_file() and (digest := _check(to, file)) is not None:
            tell(size)
            return digest
        to.parent.mkdir(parents=True, exist_ok=True)
        told = hashlib.sha256(f"{listing.commit} {file}".encode()).hexdigest()[:16]
        partial = to.with_name(f"{to.name}.{told}.partial")
        have = partial.stat().st_size if partial.is_file() else 0
        have = have if have <= size else 0
        tell(have)
        url = f"{self.page(listing.repo, listing.repo_type)}/resolve/{listing.commit}/{quote(name)}"
        failed = 0
        while have < size or not partial.is_file():
            before = have
            try:
                have = self._patiently(
                    lambda at=have: self._stream(url, partial, at, size, tell),  # type: ignore[misc]
                    listing.repo, listing.repo_type, listing.commit, name,
                )  # fmt: skip
            except _Cut as cut:
                have = partial.stat().st_size if partial.is_file() else 0
                failed = 0 if have > before else failed + 1
                if failed >= TRIES:
                    raise DomainclipError(f"{name} of {listing.repo}: {cut}", LATER) from None
                time.sleep(min(8.0, 0.5 * 2**failed) if failed else 0.2)
                continue
            if have < size:
                raise DataError(
                    f"{name} of {listing.repo} ends after {have:,} of {size:,} bytes",
                    f"the file on the hub is truncated; try again later: {LATER}",
                )
        digest = _check(partial, file)
        if digest is None:
            partial.unlink()
            raise DataError(
                f"{name} of {listing.repo} does not have the checksum that the hub lists, "
                f"{file.sha256 or file.oid}",
                "it was damaged on the way, and is removed; the same command fetches it again",
            )
        partial.replace(to)
        return digest

    def _measured(self, listing: Listing, name: str) -> HubFile:
        """Return a file with its size and a checksum, which a mirror may leave out of its list."""
        file = listing.files[name]
        if file.size is not None and (file.sha256 or file.oid):
            return file
        from huggingface_hub import get_hf_file_metadata

        page = self.page(listing.repo, listing.repo_type)
        found = self._patiently(
            lambda: get_hf_file_metadata(
                f"{page}/resolve/{listing.commit}/{quote(name)}", timeout=TIMEOUT
            ),
            listing.repo, listing.repo_type, listing.commit, name,
        )  # fmt: skip
        etag = found.etag or ""
        if found.size is None:
            raise DataError(f"{self.endpoint} does not say how long {name} of {listing.repo} is")
        sha256 = etag if re.fullmatch(r"[0-9a-f]{64}", etag) else ""
        oid = etag if re.fullmatch(r"[0-9a-f]{40}", etag) else ""
        return HubFile(name, found.size, sha256, oid)

    def _stream(
        self, url: str, partial: Path, have: int, size: int, tell: Callable[[int], None]
    ) -> int:
        """Append what comes to a file, and return its length.

        Raises:
            _Cut: If the connection ends before the file does.
        """
        import huggingface_hub.utils
        from huggingface_hub.errors import HfHubHTTPError

        utils: Any = huggingface_hub.utils  # it names what it exports by a list that mypy skips

        # A compressed answer could not be taken up in the middle.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        headers = utils.build_hf_headers(
            library_name="domainclip", library_version=__version__, headers=headers
        )
        session, began = utils.get_session(), False
        try:
            with session.stream(
                "GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True
            ) as response:
                if response.status_code == 416:
                    return have
                utils.hf_raise_for_status(response)
                began = True
                if have and response.status_code != 206:
                    tell(-have)
                    have = 0
                with partial.open("r+b" if have else "wb", buffering=0) as out:
                    out.seek(have)
                    for block in response.iter_bytes():
                        if have + len(block) > size:
                            raise DataError(
                                f"{url} is longer than the {size:,} bytes that the hub lists"
                            )
                        out.write(block)
                        have += len(block)
                        tell(len(block))
                    os.fsync(out.fileno())
        except HfHubHTTPError:
            raise
        except _connection_error() as error:
            if began:
                raise _Cut("the connection breaks off again and again") from error
            raise
        return have

    def _patiently(
        self, call: Callable[[], T], repo: str, repo_type: str, revision: str, name: str = ""
    ) -> T:
        """Return what a call returns; wait where the hub is busy, tell what is final.

        Raises:
            DomainclipError: With what a person can do about it.
        """
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        what = f"{name} of {repo}" if name else repo
        for attempt in range(1, TRIES + 1):
            try:
                return call()
            except OfflineModeIsEnabled:
                raise DomainclipError(
                    f"{what} cannot be fetched: the network is switched off by HF_HUB_OFFLINE"
                ) from None
            except HfHubHTTPError as error:
                status, wait = status_of(error), wait_of(error, attempt)
                if status not in BUSY:
                    page, asked = self.page(repo, repo_type), name or revision or "the list"
                    raise explain(error, self.endpoint, page, repo, asked) from None
                if attempt == TRIES or wait > LONGEST_WAIT:
                    raise DomainclipError(
                        f"{self.endpoint} does not serve {what} now: HTTP {status}",
                        f"wait {wait:.0f} s or longer; {LATER}",
                    ) from None
                if wait >= 1:
                    self.say(f"{self.endpoint} is busy (HTTP {status}); going on in {wait:.0f} s")
                time.sleep(wait)
            except _connection_error() as error:
                if attempt < 3:
                    time.sleep(0.5 * attempt)
                    continue
                raise DomainclipError(
                    f"{what} cannot be fetched: {self.endpoint} cannot be reached "
                    f"({say_connection(error)})",
                    f"check the network, and HF_ENDPOINT and proxies where they are set; {LATER}",
                ) from None
        raise AssertionError("every try returns or raises")


class _Cut(Exception):
    """A connection that ended before the file did."""


def _connection_error() -> type[Exception]:
    """Return what the client's errors of the connection are, httpx's or httpx2's."""
    from huggingface_hub import errors

    found: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    return found


def is_offline() -> bool:
    """Return whether the network is switched off for the hub's client."""
    from huggingface_hub import constants

    said = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return said or bool(constants.HF_HUB_OFFLINE)


def check_name(name: str, where: str) -> None:
    """Refuse the name of a file that would lie outside the folder that it is put into.

    Raises:
        DataError: If it would, on any system.
    """
    parts = re.split(r"[/\\]", name)
    if not name or name[0] in "/\\" or ".." in parts or ":" in parts[0] or "\0" in name:
        raise DataError(
            f"{where} has a file named {name!r}, which leads out of its folder",
            "nothing of it was fetched; tell its publishers",
        )


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _check(path: Path, file: HubFile) -> str | None:
    """Return the SHA-256 of a file that is what the hub lists, else None."""
    if path.stat().st_size != file.size:
        return None
    digest = digest_file(path)
    if file.sha256:
        return digest if digest == file.sha256 else None
    if file.oid:
        oid = hashlib.sha1(b"blob %d\0" % file.size)
        with path.open("rb") as opened:
            while block := opened.read(1 << 20):
                oid.update(block)
        return digest if oid.hexdigest() == file.oid else None
    return digest
