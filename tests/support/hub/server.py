"""A small server of the Hugging Face hub's HTTP protocol, for the real clients on loopback.

Supports the requests of huggingface_hub 2.4, transformers and datasets: repositories, revisions,
trees, files with ranges and etags, commits, and uploads by LFS and xet, but no downloads by xet.
Repositories are kept in memory. It can end a download half-way and refuse requests, and it
records all requests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from support.hub.repos import LFS_SUFFIXES, READER, WRITER, HubServer, Repo, object_id, tree_entry
from support.hub.xet import assemble, read_xorb

_ID = r"(?P<id>[^/]+/[^/]+)"
_KIND = r"(?P<kind>models|datasets|spaces)"


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """Run a hub."""
    hub = HubServer()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    # Shutting down waits for the next poll: half a second by default.
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Refused(Exception):
    def __init__(self, status: int, message: str, code: str = "", **more: str) -> None:
        self.status, self.message, self.code, self.more = status, message, code, more


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        line = f"{self.command} {path}"
        ranged = self.headers.get("Range")
        self.hub.requests.append(f"{line} {ranged}" if ranged else line)
        try:
            for pattern, status in self.hub.refusals:
                if re.search(pattern, line):
                    raise _Refused(status, "refused on purpose")
            self._check_token()
            for method, route, action in _ROUTES:
                found = re.fullmatch(route, path)
                if found and self.command in method:
                    with self.hub.lock:
                        done = action(self, body, **found.groupdict())
                    if done is not None:
                        self._send_json(done)
                    return
            raise _Refused(404, f"no route for {line}", "EntryNotFound")
        except _Refused as error:
            self._send_json({"error": error.message, **error.more}, error=error)

    @property
    def _token(self) -> str | None:
        words = (self.headers.get("Authorization") or "").split()
        return words[1] if len(words) == 2 else None

    def _check_token(self) -> None:
        if self._token not in (None, WRITER, READER):
            raise _Refused(401, "Invalid credentials in Authorization header")

    def _check_writer(self) -> None:
        if self._token is None:
            raise _Refused(401, "Invalid username or password.")
        if self._token != WRITER:
            raise _Refused(403, "You don't have the rights to write here")

    def _repo(self, kind: str | None, id: str) -> Repo:
        repo = self.hub.repos.get(f"{kind or 'models'}/{id.removesuffix('.git')}")
        if repo is None or (repo.private and self._token is None):
            raise _Refused(404 if self._token else 401, "Repository not found", "RepoNotFound")
        return repo

    def _content(self, repo: Repo, revision: str) -> tuple[str, dict[str, bytes]]:
        sha = repo.head if revision == "main" else revision
        if sha not in repo.commits:
            raise _Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha, repo.commits[sha]

    def _send_json(self, content: Any, error: _Refused | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(error.status if error else 200)
        if error:
            self.send_header("X-Error-Message", error.message)
            if error.code:
                self.send_header("X-Error-Code", error.code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # One method per route.

    def who(self, body: bytes) -> Any:
        if self._token is None:
            raise _Refused(401, "Invalid username or password.")
        role = "write" if self._token == WRITER else "read"
        return {
            "type": "user",
            "name": "me",
            "orgs": [],
            "auth": {"accessToken": {"role": role, "displayName": "test"}},
        }

    def validate(self, body: bytes) -> Any:
        return {"errors": [], "warnings": []}

    def create(self, body: bytes) -> Any:
        self._check_writer()
        wanted = json.loads(body)
        kind = wanted.get("type", "model") + "s"
        owner = wanted.get("organization") or "me"
        if owner not in ("me", "team"):
            raise _Refused(403, f'You don\'t have the rights under the namespace "{owner}"')
        name = f"{owner}/{wanted['name']}"
        url = f"{self.hub.url}/{'' if kind == 'models' else kind + '/'}{name}"
        if f"{kind}/{name}" in self.hub.repos:
            raise _Refused(409, "You already created this model repo", url=url)
        repo = Repo(private=wanted.get("visibility") == "private" or wanted.get("private") is True)
        repo.commit({".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        self.hub.repos[f"{kind}/{name}"] = repo
        return {"url": url, "name": name, "id": name}

    def info(self, body: bytes, kind: str, id: str, revision: str = "main") -> Any:
        repo = self._repo(kind, id)
        sha, files = self._content(repo, revision or "main")
        return {
            "_id": "0",
            "id": id,
            "modelId": id,
            "sha": sha,
            "private": repo.private,
            "gated": "manual" if repo.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "lastModified": "2026-01-01T00:00:00.000Z",
            "createdAt": "2026-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": name} for name in sorted(files)],
        }

    def refs(self, body: bytes, kind: str, id: str) -> Any:
        repo = self._repo(kind, id)
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}
        return {"branches": [main], "tags": [], "converts": []}

    def tree(self, body: bytes, kind: str, id: str, revision: str, below: str | None = None) -> Any:
        query = parse_qs(urlsplit(self.path).query)
        recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        _, files = self._content(self._repo(kind, id), revision)
        prefix = f"{below.strip('/')}/" if below and below.strip("/") else ""
        found: dict[str, Any] = {}
        for name in sorted(files):
            if not name.startswith(prefix):
                continue
            first, slash, _ = name.removeprefix(prefix).partition("/")
            if slash:
                folder = prefix + first
                found.setdefault(folder, {"type": "directory", "path": folder, "oid": "0" * 40})
            if not slash or recursive:
                found[name] = tree_entry(name, files[name])
        if prefix and not found:
            raise _Refused(404, f"{below} does not exist", "EntryNotFound")
        return list(found.values())

    def paths(self, body: bytes, kind: str, id: str, revision: str) -> Any:
        if "json" in (self.headers.get("Content-Type") or ""):
            wanted = json.loads(body)["paths"]
        else:
            wanted = parse_qs(body.decode())["paths"]
        _, files = self._content(self._repo(kind, id), revision)
        entries: list[Any] = [tree_entry(name, files[name]) for name in wanted if name in files]
        for name in wanted:
            if name not in files and any(f.startswith(f"{name}/") for f in files):
                entries.append({"type": "directory", "path": name, "oid": "0" * 40})
        return entries

    def preupload(self, body: bytes, kind: str, id: str, revision: str) -> Any:
        self._check_writer()
        _, files = self._content(self._repo(kind, id), revision)
        answers = []
        for wanted in json.loads(body)["files"]:
            name = wanted["path"]
            answer = {"path": name, "shouldIgnore": False}
            answer["uploadMode"] = "lfs" if name.endswith(LFS_SUFFIXES) else "regular"
            if name in files:
                answer["oid"] = object_id(name, files[name])
            answers.append(answer)
        return {"files": answers}

    def lfs_batch(self, body: bytes, id: str, kind: str | None = None) -> Any:
        self._check_writer()
        self._repo(kind, id)
        objects = []
        for wanted in json.loads(body)["objects"]:
            answer: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.blobs:
                answer["actions"] = {
                    "upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}", "header": {}}
                }
            objects.append(answer)
        return {"transfer": "basic", "objects": objects}

    def lfs_put(self, body: bytes, oid: str) -> Any:
        if hashlib.sha256(body).hexdigest() != oid:
            raise _Refused(400, "the content is not that of the oid")
        self.hub.blobs[oid] = body
        return {}

    def xet_token(self, body: bytes, kind: str, id: str, revision: str) -> Any:
        self._check_writer()
        expires = int(time.time()) + 3600
        return {"accessToken": self._token, "exp": expires, "casUrl": self.hub.url}

    def xet_chunks(self, body: bytes) -> Any:
        self._check_writer()
        self.hub.chunks += read_xorb(body)
        return {"was_inserted": True}

    def xet_files(self, body: bytes) -> Any:
        self._check_writer()
        return {"result": 1}

    def commit(self, body: bytes, kind: str, id: str, revision: str) -> Any:
        self._check_writer()
        repo = self._repo(kind, id)
        files, message = dict(repo.files), ""
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                content = self.hub.blobs.get(value["oid"]) or assemble(
                    self.hub.chunks, sha256=value["oid"], size=value["size"]
                )
                if content is None:
                    raise _Refused(400, f"{value['path']} was never uploaded")
                files[value["path"]] = content
            elif item["key"] == "deletedFile":
                del files[value["path"]]
            else:
                raise _Refused(400, f"unknown operation {item['key']}")
        sha = repo.commit(files, message)
        return {
            "success": True,
            "commitOid": sha,
            "commitUrl": f"{self.hub.url}/{id}/commit/{sha}",
            "hookOutput": "",
        }

    def resolve(
        self, body: bytes, id: str, revision: str, path: str, kind: str | None = None
    ) -> None:
        repo = self._repo(kind, id)
        if repo.gated:
            raise _Refused(403 if self._token else 401, "Access to it is restricted", "GatedRepo")
        sha, files = self._content(repo, revision)
        if path not in files:
            raise _Refused(404, f"{path} does not exist", "EntryNotFound")
        content = files[path]
        start, end = 0, len(content)
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if ranged:
            start = int(ranged[1])
            end = min(end, int(ranged[2]) + 1) if ranged[2] else end
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", f'"{object_id(path, content)}"')
        self.send_header("X-Repo-Commit", sha)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.cuts.get(path, 0) > 0:
            self.hub.cuts[path] -= 1
            end = (start + end) // 2
            self.close_connection = True
        self.wfile.write(content[start:end])


_REVISION = r"(?P<revision>[^/]+|refs/(?:heads|pr|convert)/[^/]+)"
_FILE_OF = rf"/(?:(?P<kind>datasets|spaces)/)?{_ID}"
_ROUTES = (
    ("GET", "/api/whoami-v2", _Handler.who),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("POST", "/api/repos/create", _Handler.create),
    ("GET", f"/api/{_KIND}/{_ID}", _Handler.info),
    ("GET", f"/api/{_KIND}/{_ID}/revision/{_REVISION}", _Handler.info),
    ("GET", f"/api/{_KIND}/{_ID}/refs", _Handler.refs),
    ("GET", f"/api/{_KIND}/{_ID}/tree/{_REVISION}(?P<below>/.*)?", _Handler.tree),
    ("POST", f"/api/{_KIND}/{_ID}/paths-info/{_REVISION}", _Handler.paths),
    ("POST", f"/api/{_KIND}/{_ID}/preupload/{_REVISION}", _Handler.preupload),
    ("POST", f"/api/{_KIND}/{_ID}/commit/{_REVISION}", _Handler.commit),
    ("GET", f"/api/{_KIND}/{_ID}/xet-write-token/{_REVISION}", _Handler.xet_token),
    ("POST", "/v1/xorbs/default/[0-9a-f]{64}", _Handler.xet_chunks),
    ("POST", "/v1/shards", _Handler.xet_files),
    ("POST", f"{_FILE_OF}/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", _Handler.lfs_put),
    ("GET HEAD", f"{_FILE_OF}/resolve/{_REVISION}/(?P<path>.+)", _Handler.resolve),
)
