"""A Hub of data sets on this machine: the few routes that reading one takes."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SHA = "a" * 40


def _tree(files: Mapping[str, bytes], below: str) -> list[dict[str, object]]:
    below = below.strip("/")
    entries: dict[str, dict[str, object]] = {}
    for path, data in files.items():
        if below and not path.startswith(f"{below}/"):
            continue
        oid = hashlib.sha1(data).hexdigest()
        entries[path] = {"type": "file", "path": path, "size": len(data), "oid": oid}
        parts = path.split("/")[:-1]
        for i in range(1, len(parts) + 1):
            folder = "/".join(parts[:i])
            entries[folder] = {"type": "directory", "path": folder, "size": 0, "oid": "0" * 40}
    entries.pop(below, None)
    return list(entries.values())


@contextmanager
def serve(repos: Mapping[str, Mapping[str, bytes]]) -> Iterator[str]:
    """Serve data sets, `org/name` -> file -> content, and yield the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def tell(self, value: object) -> None:
            self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

        def missing(self, code: str) -> None:
            self.answer(404, b"{}", X_Error_Code=code)

        def do_POST(self) -> None:
            wanted = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = re.match(r"/api/datasets/([^/]+/[^/]+)/paths-info/", self.path)
            if not found or found[1] not in repos:
                return self.missing("RepoNotFound")
            try:
                asked = json.loads(wanted)["paths"]
            except ValueError:
                from urllib.parse import parse_qs

                asked = parse_qs(wanted.decode())["paths"]
            names = [asked] if isinstance(asked, str) else asked
            tree = _tree(repos[found[1]], "")
            return self.tell([entry for entry in tree if entry["path"] in names])

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            file = re.match(r"/datasets/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
            if file:
                return self.file(repos.get(file[1]), file[2])
            tree = re.match(r"/api/datasets/([^/]+/[^/]+)/tree/[^/]+(/.*)?$", path)
            if tree and tree[1] in repos:
                return self.tell(_tree(repos[tree[1]], tree[2] or ""))
            info = re.match(r"/api/datasets/([^/]+/[^/]+)(/revision/.+)?$", path)
            if info and info[1] in repos:
                siblings = [{"rfilename": name} for name in repos[info[1]]]
                return self.tell({"id": info[1], "sha": SHA, "siblings": siblings, "tags": []})
            return self.missing("RepoNotFound")

        do_HEAD = do_GET

        def file(self, files: Mapping[str, bytes] | None, name: str) -> None:
            if files is None:
                return self.missing("RepoNotFound")
            if name not in files:
                return self.missing("EntryNotFound")
            data, status, extra = files[name], 200, {}
            part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if part:
                first, last = int(part[1]), int(part[2] or len(data) - 1)
                extra = {"Content_Range": f"bytes {first}-{last}/{len(data)}"}
                data, status = data[first : last + 1], 206
            etag = hashlib.sha1(files[name]).hexdigest()
            return self.answer(
                status,
                data,
                ETag=f'"{etag}"',
                X_Repo_Commit=SHA,
                Accept_Ranges="bytes",
                **extra,
            )

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
