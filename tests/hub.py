"""A Hugging Face hub of a few repositories on this machine: what its client asks for, and answers as the real one gives them."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_API = re.compile(r"/api/(models|datasets)/(.+?)(?:/(revision|tree)/([^/]+))?(?:/)?")
_FILE = re.compile(r"/(datasets/)?(.+?)/resolve/([^/]+)/(.+)")


@dataclass
class Hub:
    """Its repositories (`models/org/name` → path → content) may be changed while it runs; each content has its own commit."""

    url: str = ""
    repositories: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)  # paths
    _past: dict[str, Mapping[str, bytes]] = field(default_factory=dict)  # by commit

    def commit(self, name: str) -> str:
        digest = hashlib.sha1(name.encode(), usedforsecurity=False)
        for path, content in sorted(self.repositories[name].items()):
            digest.update(path.encode() + content)
        self._past[f"{name}@{digest.hexdigest()}"] = self.repositories[name]
        return digest.hexdigest()

    def at(self, name: str, revision: str) -> tuple[str, Mapping[str, bytes]] | None:
        """The commit that a revision is, and its files."""
        if revision in ("main", "v1"):
            return self.commit(name), self.repositories[name]
        files = self._past.get(f"{name}@{revision}")
        return None if files is None else (revision, files)


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _answer(self, *, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(path)
            status, headers, content = _response(hub, path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _response(hub: Hub, path: str) -> tuple[int, dict[str, str], bytes]:
    if found := _API.fullmatch(path):
        name = f"{found[1]}/{found[2]}"
        if name not in hub.repositories:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        version = hub.at(name, found[4] or "main")
        if version is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if found[3] == "tree":
            return _json([_entry(file, content) for file, content in version[1].items()])
        return _json({"id": found[2], "sha": version[0], "siblings": [{"rfilename": file} for file in version[1]]})
    found = _FILE.fullmatch(path)
    name = f"{(found[1] or 'models/')}{found[2]}" if found else ""
    if found is None or name not in hub.repositories:
        return 404, {"X-Error-Code": "RepoNotFound"}, b""
    version = hub.at(name, found[3])
    if name in hub.gated:
        return 403, {"X-Error-Code": "GatedRepo"}, b""
    if version is None or found[4] not in version[1]:
        return 404, {"X-Error-Code": "EntryNotFound"}, b""
    content = version[1][found[4]]
    return 200, {"X-Repo-Commit": version[0], "ETag": f'"{_blob(content)}"', "Accept-Ranges": "none"}, content


def _entry(file: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": file, "size": len(content), "oid": _blob(content)}


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _json(value: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()
