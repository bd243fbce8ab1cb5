"""The Hugging Face Hub on the loopback interface: what sending and loading a dataset uses of it, and faults on demand.

Paths, statuses and headers are those that `huggingface_hub` calls and reads. Files that the real one keeps in LFS come
through LFS here; its Xet protocol is not spoken.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_test"
USER = "me"
LFS_SUFFIXES = (".parquet", ".mp4")

Files = dict[str, bytes]


@dataclass
class Repo:
    """Branches and tags point to commits, and a commit has files."""

    private: bool
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commit("main", {".gitattributes": b"*.parquet filter=lfs\n"})

    def commit(self, branch: str, files: Files) -> str:
        sha = hashlib.sha1(f"{len(self.commits)}".encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha

    def sha(self, revision: str) -> str | None:
        known = self.branches | self.tags
        return known.get(revision) or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> Files:
        """What is there, but for the file that the Hub itself makes."""
        sha = self.sha(revision)
        assert sha, f"no revision {revision}"
        return {path: content for path, content in self.commits[sha].items() if path != ".gitattributes"}


@dataclass
class Fault:
    """What happens to requests instead of an answer: a status, a broken connection, or nothing at all.

    Attributes:
        times: how often; then all is well again.
        after: how many are answered well before.
    """

    request: str
    status: int | None = None
    hang_s: float = 0.0
    times: float = float("inf")
    after: int = 0

    def strikes(self, request: str) -> bool:
        if not re.match(self.request, request):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return self.times >= 0


class Refusal(Exception):
    def __init__(self, status: int, code: str | None = None, message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


class HubServer(ThreadingHTTPServer):
    """A Hub with one user, whose token is `TOKEN`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repos: dict[str, Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.lfs_suffixes: tuple[str, ...] = LFS_SUFFIXES
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.Lock()

    def sent(self, pattern: str = "(PUT|POST) .*(/lfs-objects/|/commit/)") -> list[str]:
        """The requests that match; by default those that bring content."""
        return [request for request in self.requests if re.match(pattern, request)]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are none."""


@contextmanager
def hub() -> Iterator[HubServer]:
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        request = f"{self.command} {path}"
        with self.server.lock:
            self.server.requests.append(request)
            fault = next((fault for fault in self.server.faults if fault.strikes(request)), None)
        if fault and fault.status is None:
            time.sleep(fault.hang_s)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        body = self._body()
        try:
            if fault:
                raise Refusal(fault.status, message="as the test wants it")
            with self.server.lock:
                self._route(path, body)
        except Refusal as refusal:
            headers = {"X-Error-Message": refusal.message} | ({"X-Error-Code": refusal.code} if refusal.code else {})
            self._answer(json.dumps({"error": refusal.message}).encode(), refusal.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _route(self, path: str, body: bytes) -> None:
        for method, pattern, handler in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command == method:
                if "/lfs-objects/" not in path and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    raise Refusal(401, message="Invalid username or password.")
                return handler(self, body, *found.groups())
        raise Refusal(501, message="the test's Hub does not have this")

    def log_message(self, *args: Any) -> None:
        """Silent: `requests` has them."""

    def _answer(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: Any) -> None:
        self._answer(json.dumps(value).encode(), headers={"Content-Type": "application/json"})

    def _repo(self, repo_id: str) -> Repo:
        if repo_id not in self.server.repos:
            raise Refusal(404, "RepoNotFound", "Repository not found")
        return self.server.repos[repo_id]

    def _at(self, repo_id: str, revision: str) -> tuple[str, Files]:
        repo = self._repo(repo_id)
        sha = repo.sha(revision)
        if sha is None:
            raise Refusal(404, "RevisionNotFound", "Invalid rev id")
        return sha, repo.commits[sha]

    def whoami(self, body: bytes) -> None:
        self._json({"type": "user", "name": USER, "orgs": []})

    def validate_yaml(self, body: bytes) -> None:
        if "license: unheard-of" in json.loads(body)["content"]:
            return self._answer(json.dumps({"errors": [{"message": '"license" must be one of [...]'}]}).encode(), 400)
        return self._json({"errors": [], "warnings": []})

    def create(self, body: bytes) -> None:
        wanted = json.loads(body)
        repo_id = f"{wanted['organization'] or USER}/{wanted['name']}"
        if repo_id.split("/")[0] != USER:
            raise Refusal(403, message=f"You don't have the rights to create a dataset under {repo_id}")
        url = {"url": f"{self.server.url}/datasets/{repo_id}"}
        if repo_id in self.server.repos:
            return self._answer(json.dumps(url | {"error": "You already created this dataset repo"}).encode(), 409)
        self.server.repos[repo_id] = Repo(wanted.get("private") or wanted.get("visibility") == "private")
        return self._json(url)

    def info(self, body: bytes, repo_id: str, revision: str | None = None) -> None:
        sha, files = self._at(repo_id, revision or "main")
        private = self._repo(repo_id).private
        siblings = [{"rfilename": path} for path in files]
        self._json({"id": repo_id, "sha": sha, "private": private, "tags": [], "downloads": 0, "siblings": siblings})

    def refs(self, body: bytes, repo_id: str) -> None:
        repo = self._repo(repo_id)
        branches, tags = (
            [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in there.items()]
            for kind, there in (("heads", repo.branches), ("tags", repo.tags))
        )
        self._json({"branches": branches, "tags": tags, "converts": []})

    def tree(self, body: bytes, repo_id: str, revision: str) -> None:
        _, files = self._at(repo_id, revision)
        self._json(
            [
                {"type": "file", "path": path, "size": len(content), "oid": self._oid(path, content)}
                for path, content in files.items()
            ]
        )

    def preupload(self, body: bytes, repo_id: str, revision: str) -> None:
        _, files = self._at(repo_id, revision)
        answer = []
        for file in json.loads(body)["files"]:
            path = file["path"]
            mode = "lfs" if path.endswith(self.server.lfs_suffixes) else "regular"
            oid = self._oid(path, files[path]) if path in files else None
            answer.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": answer})

    def _oid(self, path: str, content: bytes) -> str:
        """As the client compares it: SHA-256 of the content in LFS, else git's name of the blob."""
        if path.endswith(self.server.lfs_suffixes):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def lfs_batch(self, body: bytes, repo_id: str) -> None:
        objects = [{"oid": entry["oid"], "size": entry["size"]} for entry in json.loads(body)["objects"]]
        for entry in objects:
            if entry["oid"] not in self.server.lfs:
                entry["actions"] = {"upload": {"href": f"{self.server.url}/lfs-objects/{entry['oid']}"}}
        self._json({"transfer": "basic", "objects": objects})

    def lfs_put(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refusal(400, message="the content is not what its name says")
        self.server.lfs[oid] = body
        self._answer(b"")

    def commit(self, body: bytes, repo_id: str, revision: str) -> None:
        files = dict(self._at(repo_id, revision)[1])
        for line in body.splitlines():
            change = json.loads(line)
            key, value = change["key"], change["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.lfs[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
            else:
                assert key == "header", f"the test's Hub does not know {key}"
        sha = self._repo(repo_id).commit(revision, files)
        url = f"{self.server.url}/datasets/{repo_id}/commit/{sha}"
        self._json({"success": True, "commitOid": sha, "commitUrl": url})

    def branch(self, body: bytes, repo_id: str, branch: str) -> None:
        repo = self._repo(repo_id)
        if branch in repo.branches:
            raise Refusal(409, message="Reference already exists")
        repo.branches[branch] = repo.branches["main"]
        self._json({})

    def tag(self, body: bytes, repo_id: str, revision: str) -> None:
        sha, _ = self._at(repo_id, revision)
        name = json.loads(body)["tag"]
        if name in self._repo(repo_id).tags:
            raise Refusal(409, message="Tag already exists")
        self._repo(repo_id).tags[name] = sha
        self._json({})

    def delete_tag(self, body: bytes, repo_id: str, tag: str) -> None:
        if self._repo(repo_id).tags.pop(tag, None) is None:
            raise Refusal(404, "RevisionNotFound", "Tag not found")
        self._json({})

    def resolve(self, body: bytes, repo_id: str, revision: str, path: str) -> None:
        sha, files = self._at(repo_id, revision)
        if path not in files:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        self._answer(files[path], headers={"X-Repo-Commit": sha, "ETag": f'"{self._oid(path, files[path])}"'})


ID = "([^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/validate-yaml", _Handler.validate_yaml),
    ("POST", "/api/repos/create", _Handler.create),
    ("GET", f"/api/datasets/{ID}", _Handler.info),
    ("GET", f"/api/datasets/{ID}/revision/(.+)", _Handler.info),
    ("GET", f"/api/datasets/{ID}/refs", _Handler.refs),
    ("GET", f"/api/datasets/{ID}/tree/(.+)", _Handler.tree),
    ("POST", f"/api/datasets/{ID}/preupload/(.+)", _Handler.preupload),
    ("POST", f"/datasets/{ID}.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", "/lfs-objects/(.+)", _Handler.lfs_put),
    ("POST", f"/api/datasets/{ID}/commit/(.+)", _Handler.commit),
    ("POST", f"/api/datasets/{ID}/branch/(.+)", _Handler.branch),
    ("POST", f"/api/datasets/{ID}/tag/(.+)", _Handler.tag),
    ("DELETE", f"/api/datasets/{ID}/tag/(.+)", _Handler.delete_tag),
    ("HEAD", f"/datasets/{ID}/resolve/([^/]+)/(.+)", _Handler.resolve),
    ("GET", f"/datasets/{ID}/resolve/([^/]+)/(.+)", _Handler.resolve),
]
