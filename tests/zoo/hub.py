"""A model hub on this machine: the routes that huggingface_hub takes to read and to publish.

It speaks over a real socket, keeps every commit of every repository, and counts what it sends.
Faults are asked for by name: `hub.faults.cut(5_000, times=3)`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 100_000
"""Bytes from which a file is kept as git-lfs does, whatever its name."""
LARGE_NAMES = (".safetensors", ".bin", ".pt", ".pth", ".npy", ".onnx", ".parquet", ".png")
BLOCK = 1 << 16
CREDENTIALS = "Invalid credentials in Authorization header"


@dataclass(frozen=True)
class Blob:
    """The content of a file."""

    path: Path
    size: int
    sha256: str
    oid: str
    large: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.oid


@dataclass
class Repo:
    """A repository and all its commits."""

    kind: str
    id: str
    gated: bool = False
    private: bool = False
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> dict[str, Blob]:
        return self.commits.get(self.refs.get("main", ""), {})

    def find(self, revision: str) -> str | None:
        """Return the commit that a branch, a tag or a commit means."""
        return self.refs.get(revision) or (revision if revision in self.commits else None)

    def commit(self, files: Mapping[str, Blob], message: str = "", ref: str = "main") -> str:
        told = json.dumps(
            [self.id, len(self.commits), sorted((n, b.oid) for n, b in files.items())]
        )
        sha = hashlib.sha1(told.encode()).hexdigest()
        self.commits[sha], self.messages[sha], self.refs[ref] = dict(files), message, sha
        return sha


@dataclass
class Request:
    """A request as it came, and what went back."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    status: int = 0
    sent: int = 0
    """Bytes of the body that were handed to the socket."""

    @property
    def range(self) -> str:
        return self.headers.get("range", "")


class Faults:
    """What goes wrong; nothing, until it is asked for. `where` is a part of the path."""

    def __init__(self) -> None:
        self.rate = 0.0
        """Bytes a second of file contents; 0 for as fast as it goes."""
        self.ranges = True
        """Whether a part of a file can be asked for."""
        self.bare = False
        """Whether lists tell names alone, as those of some mirrors do."""
        self.lock = threading.Lock()
        self._rules: list[dict[str, Any]] = []

    def cut(self, after: int, times: int = 1, where: str = "") -> None:
        """Close the connection after so many bytes of a file."""
        self._rules.append({"kind": "cut", "after": after, "times": times, "where": where})

    def truncate(self, to: int, times: int = 1 << 30, where: str = "") -> None:
        """Send only the beginning of a file, as if that were all of it."""
        self._rules.append({"kind": "truncate", "to": to, "times": times, "where": where})

    def corrupt(self, times: int = 1 << 30, where: str = "") -> None:
        """Send a file with other bytes than its checksum promises."""
        self._rules.append({"kind": "corrupt", "times": times, "where": where})

    def refuse(
        self, status: int, times: int = 1, where: str = "", retry_after: str = "", code: str = ""
    ) -> None:
        """Answer with a status, such as 429 or 503."""
        self._rules.append({
            "kind": "refuse", "status": status, "times": times, "where": where,
            "retry_after": retry_after, "code": code,
        })  # fmt: skip

    def drop(self, times: int = 1, where: str = "") -> None:
        """Close the connection without an answer."""
        self._rules.append({"kind": "drop", "times": times, "where": where})

    def clear(self) -> None:
        """Do everything right again."""
        self._rules.clear()
        self.rate, self.ranges, self.bare = 0.0, True, False

    def take(self, path: str, *kinds: str) -> dict[str, Any] | None:
        """Return the first rule of these kinds that is for a path, and use it up once."""
        with self.lock:
            for rule in self._rules:
                if rule["kind"] in kinds and rule["where"] in path and rule["times"] > 0:
                    rule["times"] -= 1
                    return rule
        return None


class HubServer:
    """The server; used as `with HubServer(folder) as hub`.

    Attributes:
        url: What `HF_ENDPOINT` is set to.
        requests: Every request, in order.
        faults: What is to go wrong.
        tokens: Token -> repositories that are gated or private to which it has access; any of them
            may publish. Another token is taken for one that has expired.
    """

    def __init__(self, folder: Path, *, cdn: bool = True) -> None:
        self.folder = Path(folder)
        self.cdn = cdn
        self.repos: dict[tuple[str, str], Repo] = {}
        self.tokens: dict[str, set[str]] = {}
        self.requests: list[Request] = []
        self.faults = Faults()
        self.uploads = self.folder / "blobs"
        self.uploads.mkdir(parents=True, exist_ok=True)
        hub = self

        class Bound(_Handler):
            pass

        Bound.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def sent(self) -> int:
        """Bytes of file contents that were handed to sockets so far."""
        return sum(r.sent for r in self.requests if "/resolve/" in r.path or "/cdn/" in r.path)

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes | str | Path],
        *,
        repo_type: str = "model",
        gated: bool = False,
        private: bool = False,
        message: str = "added",
    ) -> str:
        """Commit files to a repository, made if needed, and return the commit.

        Args:
            repo_id: `organisation/name`.
            files: Path in the repository -> content, or the path of a file that is copied. Files of
                the commit before stay.
            repo_type: `model` or `dataset`.
            gated: Only a token that was granted access may read it.
            private: As `gated`, and others are told that it does not exist.
            message: What the commit says.
        """
        repo = self.repos.setdefault((repo_type, repo_id), Repo(repo_type, repo_id))
        repo.gated, repo.private = gated, private
        blobs = {name: self.keep(name, content) for name, content in files.items()}
        return repo.commit({**repo.head, **blobs}, message)

    def files(
        self, repo_id: str, revision: str = "main", repo_type: str = "model"
    ) -> dict[str, bytes]:
        """Return what a repository holds."""
        repo = self.repos[repo_type, repo_id]
        found = repo.commits[repo.find(revision) or ""]
        return {name: blob.path.read_bytes() for name, blob in found.items()}

    def grant(self, token: str, *repos: str) -> None:
        """Make a token known, with access to repositories that are gated or private."""
        self.tokens.setdefault(token, set()).update(repos)

    def keep(self, name: str, content: bytes | str | Path) -> Blob:
        """Keep a content by its checksum."""
        if isinstance(content, Path):
            partial = self.uploads / f"new-{threading.get_ident()}"
            shutil.copyfile(content, partial)
        else:
            partial = self.uploads / f"new-{threading.get_ident()}"
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
        size = partial.stat().st_size
        sha256, oid = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
        with partial.open("rb") as opened:
            while block := opened.read(1 << 20):
                sha256.update(block)
                oid.update(block)
        path = self.uploads / sha256.hexdigest()
        partial.replace(path)
        return Blob(path, size, sha256.hexdigest(), oid.hexdigest(), is_large(name, size))


def is_large(name: str, size: int) -> bool:
    """Return whether the hub keeps a file by git-lfs."""
    return size > 0 and (size >= LARGE or name.endswith(LARGE_NAMES))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.serve(_READ)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.serve(_WRITE)

    do_PUT = do_POST

    def serve(self, routes: list[tuple[str, Callable[..., None]]]) -> None:
        """Log the request, let faults have their way, then find who answers."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = self.read_chunks()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.told = Request(self.command, self.path, headers, body)
        self.hub.requests.append(self.told)
        path = unquote(urlsplit(self.path).path)
        self.query = parse_qs(urlsplit(self.path).query)
        rule = self.hub.faults.take(path, "drop", "refuse")
        if rule and rule["kind"] == "drop":
            self.close_connection = True
            return
        if rule:
            extra = {"Retry-After": rule["retry_after"]} if rule["retry_after"] else {}
            self.fail(rule["status"], rule["code"], **extra)
            return
        for pattern, answer in routes:
            if found := re.fullmatch(pattern, path):
                answer(self, **found.groupdict())
                return
        self.fail(404)

    def read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, status: int, value: object = None, **headers: str) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.told.status = status
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        told = {"X-Error-Code": code} if code else {}
        told |= {"X-Error-Message": message} if message else {}
        self.answer(status, {"error": message or code or str(status)}, **told, **headers)

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def open_repo(self, kind: str | None, id: str) -> Repo | None:
        """Return a repository; None where that has been answered with a refusal."""
        repo = self.hub.repos.get(((kind or "models").rstrip("s/"), id))
        if self.token and self.token not in self.hub.tokens:
            self.fail(401, message=CREDENTIALS)
            return None
        allowed = id in self.hub.tokens.get(self.token, set())
        if repo is None or (repo.private and not allowed):
            self.fail(404 if self.token else 401, "RepoNotFound", "Repository not found")
            return None
        return repo

    def open_commit(self, kind: str | None, id: str, rev: str | None) -> tuple[Repo, str] | None:
        repo = self.open_repo(kind, id)
        if repo is None:
            return None
        sha = repo.find(rev or "main")
        if sha is None:
            self.fail(404, "RevisionNotFound", f"Invalid rev id: {rev}")
            return None
        return repo, sha

    def info(self, id: str, kind: str, rev: str | None = None) -> None:
        found = self.open_commit(kind, id, rev)
        if found is None:
            return
        repo, sha = found
        siblings: list[dict[str, Any]] = []
        for name, blob in sorted(repo.commits[sha].items()):
            told: dict[str, Any] = {"rfilename": name}
            full = "blobs" in self.query and not self.hub.faults.bare
            if full:
                told |= {"size": blob.size, "blobId": blob.oid}
            if full and blob.large:
                told["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": 134}
            siblings.append(told)
        self.answer(200, {
            "_id": "0" * 24, "id": repo.id, "sha": sha, "siblings": siblings, "tags": [],
            "private": repo.private, "gated": "auto" if repo.gated else False, "downloads": 0,
            "likes": 0, "author": repo.id.partition("/")[0], "disabled": False,
        })  # fmt: skip

    def tree(self, id: str, kind: str, rev: str, below: str | None = None) -> None:
        found = self.open_commit(kind, id, rev)
        if found is None:
            return
        start = f"{below}/" if below else ""
        entries: dict[str, dict[str, Any]] = {}
        for name, blob in sorted(found[0].commits[found[1]].items()):
            if not name.startswith(start):
                continue
            for i in range(1, name.count("/") + 1):
                folder = "/".join(name.split("/")[:i])
                if folder.startswith(start):
                    entries[folder] = {
                        "type": "directory",
                        "path": folder,
                        "oid": "0" * 40,
                        "size": 0,
                    }
            entries[name] = {"type": "file", "path": name, "size": blob.size, "oid": blob.oid}
            if blob.large:
                entries[name]["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 134}
        if self.query.get("recursive", ["false"])[0].lower() not in ("true", "1"):
            entries = {n: e for n, e in entries.items() if "/" not in n.removeprefix(start)}
        self.answer(200, list(entries.values()))

    def resolve(self, id: str, rev: str, file: str, kind: str | None = None) -> None:
        found = self.open_commit(kind, id, rev)
        if found is None:
            return
        repo, sha = found
        if repo.gated and id not in self.hub.tokens.get(self.token, set()):
            self.fail(
                403 if self.token else 401, "GatedRepo",
                f"Access to model {id} is restricted. Visit {self.hub.url}/{id} to ask for access.",
            )  # fmt: skip
            return
        blob = repo.commits[sha].get(file)
        if blob is None:
            self.fail(404, "EntryNotFound", "Entry not found", X_Repo_Commit=sha)
            return
        told = {"X-Repo-Commit": sha, "ETag": f'"{blob.etag}"'}
        if not (blob.large and self.hub.cdn):
            self.send_blob(blob, told)
            return
        told |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
        # Another host name, as on the Hub: a client must not send its token there.
        there = f"http://localhost:{self.hub.port}/cdn/{blob.sha256}?name={file}"
        self.answer(302, None, Location=there, **told)

    def deliver(self, digest: str) -> None:
        path = self.hub.uploads / digest
        if not path.is_file():
            self.fail(403)
            return
        self.send_blob(Blob(path, path.stat().st_size, digest, "", True), {"ETag": f'"{digest}"'})

    def send_blob(self, blob: Blob, told: Mapping[str, str]) -> None:
        """Send a file or a part of it, as faults let it."""
        faults = self.hub.faults
        reading = self.command == "GET"
        rule = faults.take(self.path, "truncate", "corrupt", "cut") if reading else None
        kind = rule["kind"] if rule else ""
        size = min(blob.size, rule["to"]) if rule and kind == "truncate" else blob.size
        first, last, status = 0, size - 1, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and faults.ranges:
            first, last, status = int(asked[1]), min(int(asked[2] or size - 1), size - 1), 206
        self.told.status = 416 if first > last and size else status
        if first > last and size:
            self.fail(416, Content_Range=f"bytes */{size}")
            return
        self.send_response(status)
        for name, text in told.items():
            self.send_header(name, text)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        if not reading:
            return
        left = last - first + 1
        stop = rule["after"] if rule and kind == "cut" else left
        start = time.monotonic()
        with blob.path.open("rb") as opened, contextlib.suppress(OSError):
            opened.seek(first)
            while left and self.told.sent < stop:
                block = opened.read(min(BLOCK, left, stop - self.told.sent))
                if kind == "corrupt":
                    block = bytes(255 - byte for byte in block)
                self.wfile.write(block)
                self.told.sent += len(block)
                left -= len(block)
                if faults.rate:
                    time.sleep(max(0.0, start + self.told.sent / faults.rate - time.monotonic()))
        if left:
            self.close_connection = True

    def whoami(self) -> None:
        if self.token not in self.hub.tokens:
            self.fail(401, message=CREDENTIALS)
            return
        self.answer(200, {"type": "user", "name": "somebody", "fullname": "Somebody", "orgs": [],
                          "auth": {"type": "access_token"}})  # fmt: skip

    def may_write(self) -> bool:
        if self.token in self.hub.tokens:
            return True
        self.fail(401, message=CREDENTIALS)
        return False

    def create(self) -> None:
        if not self.may_write():
            return
        asked = json.loads(self.told.body)
        kind, id = asked.get("type") or "model", f"{asked['organization']}/{asked['name']}"
        prefix = "" if kind == "model" else f"{kind}s/"
        told = {"url": f"{self.hub.url}/{prefix}{id}", "name": id}
        if (kind, id) in self.hub.repos:
            self.fail_existing(told)
            return
        private = asked.get("private") or asked.get("visibility") == "private"
        repo = self.hub.repos[kind, id] = Repo(kind, id, private=bool(private))
        self.hub.tokens[self.token].add(id)
        repo.commit({".gitattributes": self.hub.keep(".gitattributes", "")}, "initial commit")
        self.answer(200, told)

    def fail_existing(self, told: Mapping[str, str]) -> None:
        self.answer(409, {"error": "You already created this model repo", **told})

    def validate_yaml(self) -> None:
        self.answer(200, {"errors": [], "warnings": []})

    def preupload(self, id: str, kind: str, rev: str) -> None:
        if not self.may_write() or (repo := self.open_repo(kind, id)) is None:
            return
        told = []
        for file in json.loads(self.told.body)["files"]:
            mode = "lfs" if is_large(file["path"], file["size"]) else "regular"
            old = repo.head.get(file["path"])
            told.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False,
                         "oid": old.etag if old else None})  # fmt: skip
        self.answer(200, {"files": told})

    def batch(self, id: str, kind: str | None = None) -> None:
        if not self.may_write() or self.open_repo(kind, id) is None:
            return
        told = []
        for asked in json.loads(self.told.body)["objects"]:
            known = (self.hub.uploads / asked["oid"]).is_file()
            there = f"{self.hub.url}/upload/{asked['oid']}"
            verify = {"href": f"{self.hub.url}/verify/{id}"}
            actions = {"upload": {"href": there, "header": {}}, "verify": verify}
            told.append(dict(asked) if known else {**asked, "actions": actions})
        self.answer(200, {"transfer": "basic", "objects": told})

    def upload(self, digest: str) -> None:
        if hashlib.sha256(self.told.body).hexdigest() != digest:
            self.fail(400, message="the content does not have this checksum")
            return
        self.hub.keep("x.bin", self.told.body)
        self.answer(200)

    def verify(self, id: str) -> None:
        asked = json.loads(self.told.body)
        kept = self.hub.uploads / asked["oid"]
        self.answer(200 if kept.is_file() and kept.stat().st_size == asked["size"] else 404, {})

    def commit(self, id: str, kind: str, rev: str) -> None:
        if not self.may_write() or (repo := self.open_repo(kind, id)) is None:
            return
        files, message = dict(repo.head), ""
        for line in self.told.body.splitlines():
            told = json.loads(line)
            key, value = told["key"], told["value"]
            if key == "header":
                message = value["summary"]
                if value.get("parentCommit") not in (None, repo.refs.get("main")):
                    self.fail(412, message="the branch has moved on")
                    return
            elif key == "file":
                files[value["path"]] = self.hub.keep(
                    value["path"], base64.b64decode(value["content"])
                )
            elif key == "lfsFile":
                path = self.hub.uploads / value["oid"]
                if not path.is_file():
                    self.fail(400, message=f"{value['path']} was not uploaded")
                    return
                files[value["path"]] = self.hub.keep(value["path"], path)
            elif key in ("deletedFile", "deletedFolder"):
                gone = value["path"].rstrip("/")
                files = {
                    n: b for n, b in files.items() if n != gone and not n.startswith(f"{gone}/")
                }
        sha = repo.commit(files, message, rev)
        prefix = "" if kind == "models" else f"{kind}/"
        there = f"{self.hub.url}/{prefix}{id}/commit/{sha}"
        self.answer(200, {"success": True, "commitUrl": there, "commitOid": sha, "hookOutput": ""})


_API = r"/api/(?P<kind>models|datasets)/(?P<id>[^/]+/[^/]+)"
_PAGE = r"/(?:(?P<kind>datasets)/)?(?P<id>[^/]+/[^/]+?)"
_READ: list[tuple[str, Callable[..., None]]] = [
    (r"/api/whoami-v2", _Handler.whoami),
    (_API + r"(?:/revision/(?P<rev>.+))?", _Handler.info),
    (_API + r"/tree/(?P<rev>[^/]+)(?:/(?P<below>.+))?", _Handler.tree),
    (r"/cdn/(?P<digest>[0-9a-f]{64})", _Handler.deliver),
    (_PAGE + r"/resolve/(?P<rev>[^/]+)/(?P<file>.+)", _Handler.resolve),
]
_WRITE: list[tuple[str, Callable[..., None]]] = [
    (r"/api/repos/create", _Handler.create),
    (r"/api/validate-yaml", _Handler.validate_yaml),
    (_API + r"/preupload/(?P<rev>[^/]+)", _Handler.preupload),
    (_API + r"/commit/(?P<rev>[^/]+)", _Handler.commit),
    (r"/upload/(?P<digest>[0-9a-f]{64})", _Handler.upload),
    (r"/verify/(?P<id>.+)", _Handler.verify),
    (_PAGE + r"\.git/info/lfs/objects/batch", _Handler.batch),
]
