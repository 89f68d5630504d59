"""A MediaWiki on this machine: the API actions that readers of pages use, and its bad days.

Pages come from `wiki_pages.yaml` and `wiki_pages_2.yaml`, or from `wiki/pages_*.yaml`, another wiki
with cases of its own; both written for these tests. It answers `query` with titles (info,
pageprops, extracts, categories, revisions, links, redirects followed), `list=search`,
`meta=siteinfo`, and `parse` of a page's head, in format versions 1 and 2.
"""

from __future__ import annotations

import difflib
import html
import json
import re
import threading
import time
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import yaml

HERE = Path(__file__).parent
SHORT = {
    "K": "Kingdom", "P": "Phylum", "D": "Division", "C": "Class", "O": "Order", "F": "Family",
    "G": "Genus", "S": "Species",
}  # fmt: skip
LINES = {
    "@lep": "K Animalia; P Arthropoda; C Insecta; O Lepidoptera",
    "@ins": "K Animalia; P Arthropoda; C Insecta",
    "@bird": "K Animalia; P Chordata; C Aves",
    "@mam": "K Animalia; P Chordata; C Mammalia",
    "@fish": "K Animalia; P Chordata; C Actinopterygii",
    "@snail": "K Animalia; P Mollusca; C Gastropoda",
    "@agar": "K Fungi; P Basidiomycota; C Agaricomycetes",
    "@plant": "K Plantae",
}
"""Beginnings of classification boxes that many pages share."""
_ILLEGAL = re.compile(r"[#<>\[\]|{}]")


def load_pages(pattern: str = "wiki_pages*.yaml") -> list[dict[str, Any]]:
    """Return the pages of the files beside this one that fit a pattern."""
    files = sorted(HERE.glob(pattern))
    return [page for file in files for page in yaml.safe_load(file.read_text("utf-8"))]


class Wiki:
    """A server on a free port; a context manager.

    Attributes:
        url: Address of the host.
        api: Address of the API.
        requests: Parameters of each request, in order; "_agent" is its User-Agent, "_time" when.
        faults: What to do to the next requests, first in, first out: a status such as "500", "429
            2" with seconds to wait or "429 Sat, ..." with a date, "slow 0.5", "cut", "maxlag 1",
            "html", "" for nothing.
        always: A fault for every request, after `faults` are used up.
    """

    def __init__(self, pages: Iterable[Mapping[str, Any]] | None = None) -> None:
        self.pages: dict[str, dict[str, Any]] = {}
        self.redirects: dict[str, tuple[str, str]] = {}
        for number, page in enumerate(load_pages() if pages is None else pages):
            title = page["title"]
            assert title not in self.pages, f"{title} is there twice"
            self.pages[title] = {"id": 1000 + number, "revision": 500_000 + 7 * number, **page}
            for name in page.get("redirects", ()):
                source, _, fragment = name.partition("#")
                self.redirects[source] = (title, fragment)
        both = self.redirects.keys() & self.pages.keys()
        assert not both, f"a redirect and a page: {both}"
        self.requests: list[dict[str, str]] = []
        self.faults: list[str] = []
        self.always = ""
        self._lock = threading.Lock()

    def __enter__(self) -> Wiki:
        wiki = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                wiki._handle(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.api = f"{self.url}/w/api.php"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        params = dict(parse_qsl(parts.query, keep_blank_values=True))
        with self._lock:
            agent = request.headers.get("User-Agent", "")
            self.requests.append({**params, "_agent": agent, "_time": str(time.monotonic())})
            fault = self.faults.pop(0) if self.faults else self.always
        word, _, rest = fault.partition(" ")
        if word == "slow":
            time.sleep(float(rest))
        if word == "cut":
            request.connection.close()
            request.close_connection = True
            return None
        if word.isdigit():
            headers = {"Retry-After": rest} if rest else {}
            return self._send(request, int(word), b"<html>not now</html>", **headers)
        if word == "html":
            return self._send(request, 200, b"<html>a page for people</html>")
        if word == "maxlag":
            error = {"code": "maxlag", "info": "Waiting for a database server: 7 seconds lagged"}
            body = json.dumps({"error": error, "servedby": "here"}).encode()
            headers = {"Retry-After": rest, "MediaWiki-API-Error": "maxlag"}
            return self._send(request, 200, body, **headers)
        if not parts.path.endswith("/w/api.php"):
            return self._send(request, 404, b"<html>no such page</html>")
        body = json.dumps(self.answer(params)).encode()
        return self._send(request, 200, body, **{"Content-Type": "application/json"})

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def answer(self, params: Mapping[str, str]) -> dict[str, Any]:
        """Return what the API answers."""
        version = int(params.get("formatversion", "1"))
        if params.get("action") == "query":
            return self._query(params, version)
        if params.get("action") == "parse":
            return self._parse(params, version)
        info = f'Unrecognized value for parameter "action": {params.get("action")}.'
        return {"error": {"code": "badvalue", "info": info}}

    def _query(self, params: Mapping[str, str], version: int) -> dict[str, Any]:
        query: dict[str, Any] = {}
        more: dict[str, Any] = {}
        if params.get("meta") == "siteinfo":
            query["general"] = {"sitename": "Testpedia", "lang": "en"}
            query["rightsinfo"] = {
                "url": "https://creativecommons.org/licenses/by-sa/4.0/deed.en",
                "text": "Creative Commons Attribution-Share Alike 4.0",
            }
        if params.get("list") == "search":
            found, suggestion = self._search(params["srsearch"])
            limit = int(params.get("srlimit", "10"))
            info: dict[str, Any] = {"totalhits": len(found)}
            if suggestion:
                info["suggestion"] = suggestion
            query["searchinfo"] = info
            query["search"] = [self._hit(title, params["srsearch"]) for title in found[:limit]]
        if "titles" in params:
            more = self._titles(params, version, query)
        answer: dict[str, Any] = {"batchcomplete": True if version == 2 else ""}
        if more:
            answer["continue"] = more
        return {**answer, "query": query}

    def _titles(
        self, params: Mapping[str, str], version: int, query: dict[str, Any]
    ) -> dict[str, Any]:
        normalized, redirects, entries = [], [], {}
        extracts, props = 0, params.get("prop", "").split("|")
        more: dict[str, Any] = {}
        for asked in params["titles"].split("|"):
            title = " ".join(asked.replace("_", " ").split())
            title = title[:1].upper() + title[1:]
            if title != asked:
                normalized.append({"from": asked, "to": title})
            if "redirects" in params and title in self.redirects:
                target, fragment = self.redirects[title]
                to = {"from": title, "to": target}
                redirects.append({**to, "tofragment": fragment} if fragment else to)
                title = target
            if title in entries:
                continue
            entry = self._entry(title, params, props, version)
            if "extract" in entry:
                extracts += 1
                if extracts > 1:  # whole texts come one at a time
                    del entry["extract"]
                    more = {"excontinue": extracts - 1, "continue": "||"}
            entries[title] = entry
        if normalized:
            query["normalized"] = normalized
        if redirects:
            query["redirects"] = redirects
        if version == 2:
            query["pages"] = list(entries.values())
        else:
            missing = iter(range(-1, -100, -1))
            query["pages"] = {
                str(entry.get("pageid") or next(missing)): entry for entry in entries.values()
            }
        return more

    def _entry(
        self, title: str, params: Mapping[str, str], props: list[str], version: int
    ) -> dict[str, Any]:
        yes: Any = True if version == 2 else ""
        if _ILLEGAL.search(title) or not title:
            return {"title": title, "invalid": yes, "invalidreason": "illegal characters"}
        page = self.pages.get(title)
        if page is None and title in self.redirects:  # not asked to follow it
            return {"pageid": 9, "ns": 0, "title": title, "redirect": yes, "extract": ""}
        if page is None:
            return {"ns": 0, "title": title, "missing": yes}
        entry: dict[str, Any] = {"pageid": page["id"], "ns": 0, "title": title}
        if "info" in props:
            entry |= {
                "lastrevid": page["revision"],
                "length": len(page["text"]),
                "contentmodel": "wikitext",
            }
            if "url" in params.get("inprop", ""):
                address = f"{self.url}/wiki/{quote(title.replace(' ', '_'))}"
                entry |= {"fullurl": address, "canonicalurl": address}
        if "revisions" in props:
            entry["revisions"] = [{"revid": page["revision"], "parentid": page["revision"] - 1}]
        if "pageprops" in props and page.get("disambiguation") is True:
            entry["pageprops"] = {"disambiguation": ""}
        if "categories" in props:
            names = page.get("categories", ())
            hidden = () if "!hidden" in params.get("clshow", "") else ("Articles with short text",)
            listed = [{"ns": 14, "title": f"Category:{name}"} for name in (*names, *hidden)]
            if listed:
                entry["categories"] = listed
        if "links" in props:
            entry["links"] = [{"ns": 0, "title": name} for name in sorted(page.get("links", ()))]
        if "extracts" in props:
            text = re.sub(r"\n+(==+ .* ==+)\n+", r"\n\n\n\1\n", page["text"].strip())
            if "exintro" in params:
                text = re.split(r"^==", text, maxsplit=1, flags=re.MULTILINE)[0].strip()
            entry["extract"] = text if "explaintext" in params else f"<p>{html.escape(text)}</p>"
        return entry

    def _parse(self, params: Mapping[str, str], version: int) -> dict[str, Any]:
        title = params["page"].replace("_", " ")
        if "redirects" in params and title in self.redirects:
            title = self.redirects[title][0]
        page = self.pages.get(title)
        if page is None:
            info = "The page you specified doesn't exist."
            return {"error": {"code": "missingtitle", "info": info}}
        text = render_head(page)
        return {
            "parse": {
                "title": title,
                "pageid": page["id"],
                "revid": page["revision"],
                "text": text if version == 2 else {"*": text},
            }
        }

    def _search(self, words: str) -> tuple[list[str], str]:
        """Return titles with all words of a query, best first, and a spelling to try instead."""
        phrases = [phrase.lower() for phrase in re.findall(r'"([^"]+)"', words)]
        tokens = re.findall(r"\w+", re.sub(r'"[^"]*"', " ", words).lower())
        scores: dict[str, float] = {}
        for title, page in self.pages.items():
            names = " ".join((title, *page.get("redirects", ()))).lower()
            said_too = " ".join((*page.get("synonyms", ()), *page.get("members", ())))
            whole = f"{names} {page['text']} {said_too}".lower()
            said = set(re.findall(r"\w+", whole))
            if all(t in said for t in tokens) and all(p in whole for p in phrases):
                wanted = " ".join([*phrases, *tokens])
                score = sum(whole.count(t) for t in (*tokens, *phrases)) / (50 + len(said))
                score += 3.0 * (title.lower() == wanted) + 1.0 * (wanted in names)
                scores[title] = score + float(page.get("weight", 0))
            if any(
                query.lower() == words.strip('"').lower() for query in page.get("first_for", ())
            ):
                scores[title] = 100.0  # a hit that misleads
        found = sorted(scores, key=lambda title: (-scores[title], title))
        if found:
            return found, ""
        known = {name.lower(): name for name in (*self.pages, *self.redirects)}
        close = difflib.get_close_matches(words.strip('"').lower(), known, n=1, cutoff=0.85)
        return [], close[0] if close else ""

    def _hit(self, title: str, words: str) -> dict[str, Any]:
        page = self.pages[title]
        word = (re.findall(r"\w+", words) or [""])[0]
        found = re.search(re.escape(word), page["text"], re.IGNORECASE)
        start = max(0, found.start() - 60) if found else 0
        snippet = html.escape(page["text"][start : start + 160].replace("\n", " "))
        mark = rf'<span class="searchmatch">{word}</span>'
        return {
            "ns": 0,
            "title": title,
            "pageid": page["id"],
            "size": len(page["text"]),
            "wordcount": len(page["text"].split()),
            "snippet": snippet.replace(word, mark),
            "timestamp": "2026-01-01T00:00:00Z",
        }


def render_head(page: Mapping[str, Any]) -> str:
    """Return the HTML of a page's head as the wiki renders it: notes, box, first paragraphs."""
    lead = re.split(r"^==", page["text"], maxsplit=1, flags=re.MULTILINE)[0].strip()
    paragraphs = "".join(f"<p>{html.escape(part)}</p>" for part in lead.split("\n") if part)
    note = '<div role="note" class="hatnote">For other uses, see <a href="/wiki/X">X</a>.</div>'
    box = ""
    if page.get("box"):
        rows = page["box"]
        taxa = isinstance(rows, str) or not rows.keys().isdisjoint(SHORT.values())
        taxa = page.get("style", "biota" if taxa else "plain") == "biota"
        box = render_taxobox(page) if taxa else render_infobox(page)
    return f'<div class="mw-parser-output">{note}{box}{paragraphs}</div>'


def read_short_box(text: str) -> dict[str, str]:
    """Return the rows of a box in short form: "K Animalia; F Pieridae; S Pieris rapae"."""
    rows = {}
    for beginning, whole in LINES.items():
        text = text.replace(beginning, whole)
    for part in text.split(";"):
        letter, _, value = part.strip().partition(" ")
        rows[SHORT.get(letter, letter.replace("_", " "))] = value.strip()
    return rows


def render_taxobox(page: Mapping[str, Any]) -> str:
    """Return a classification box, with the things around its rows that readers stumble over."""
    box = page["box"]
    rows = read_short_box(box) if isinstance(box, str) else dict(box)
    edit = '<span class="plainlinks"><a href="/wiki/T"><img alt="Edit" src="e.svg"></a></span>'
    out = [
        '<table class="infobox biota biota-infobox" style="text-align: center;"><tbody>',
        f'<tr><th colspan="2" style="background-color: rgb(235,235,210)"><i>{page["title"]}</i><br>'
        '<small>Temporal range: 5–0 <a href="/wiki/Mya">Ma</a></small></th></tr>',
        '<tr><td colspan="2"><a href="/wiki/File:A.jpg"><img src="a.jpg"></a></td></tr>',
        '<tr><td colspan="2"><style data-mw-deduplicate="x">.mw{color:red}</style>A picture of one'
        "</td></tr>",
        f'<tr><th colspan="2"><a href="/wiki/C">Scientific classification</a> {edit}</th></tr>',
    ]
    for heading, value in rows.items():
        shown = html.escape(value)
        if heading == "Species" and " " in value and not page.get("plain_species"):
            first, _, rest = value.partition(" ")
            shown = f"<b><i>{first[0]}.&#160;{html.escape(rest)}</i></b>"
        elif heading == "Genus":
            author = "<small><a>Linnaeus</a>, 1758</small>"
            shown = f'<i><a href="/wiki/{shown}">{shown}</a></i><br>{author}'
        else:
            shown = f'<a href="/wiki/{shown}">{shown}</a><sup class="reference">[1]</sup>'
        out.append(f"<tr>\n<td>{heading}:\n</td>\n<td>{shown}\n</td></tr>")
        if heading == "Phylum" and page.get("clades"):
            out.append("<tr><td><i>Clade</i>:</td><td><a>Euarthropoda</a></td></tr>")
    if "Species" in rows and not page.get("plain_species"):
        out.append('<tr><th colspan="2"><a href="/wiki/B">Binomial name</a></th></tr>')
        out.append(
            f'<tr><td colspan="2"><b><span class="binomial"><i>{html.escape(rows["Species"])}</i>'
            '</span></b><br><div style="font-size: 85%;"><a>Linnaeus</a>, 1758</div></td></tr>'
        )
    if page.get("members"):
        out.append('<tr><th colspan="2"><a href="/wiki/S">Species</a></th></tr>')
        items = "".join(f"<li><i>{html.escape(name)}</i></li>" for name in page["members"])
        out.append(f'<tr><td colspan="2"><ul>{items}</ul></td></tr>')
    if page.get("synonyms"):
        out.append('<tr><th colspan="2"><a href="/wiki/Y">Synonyms</a></th></tr>')
        items = "".join(
            f"<li><i>{html.escape(name)}</i> <small>Scopoli, 1763</small></li>"
            for name in page["synonyms"]
        )
        out.append(f'<tr><td colspan="2"><ul>{items}</ul></td></tr>')
    if page.get("type_species"):
        out.append('<tr><th colspan="2"><a>Type species</a></th></tr>')
        out.append(f'<tr><td colspan="2"><i>{page["type_species"]}</i></td></tr>')
    if page.get("nested"):  # the key of a map: a table in the table
        inner = "<table><tr><td>Order:</td><td>of events</td></tr></table>"
        out.append(f'<tr><td colspan="2">{inner}</td></tr>')
    return "".join(out) + "</tbody></table>"


def render_infobox(page: Mapping[str, Any]) -> str:
    """Return a box of another sort: a person's, a ship's, a cell's."""
    rows = "".join(
        f'<tr><th scope="row" class="infobox-label">{html.escape(str(heading))}</th>'
        f'<td class="infobox-data">{html.escape(str(value))}</td></tr>'
        for heading, value in page["box"].items()
    )
    title = html.escape(page["title"])
    return (
        '<table class="infobox vcard"><tbody><tr><th colspan="2" class="infobox-above">'
        f"{title}</th></tr>{rows}</tbody></table>"
    )
