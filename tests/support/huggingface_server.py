"""A hub of models on this machine, answering over HTTP as the Hugging Face hub does.

Shapes and headers follow the hub's API: https://huggingface.co/docs/hub/api and `huggingface_hub.utils._http`.
"""

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.huggingface_uploads import LFS_BYTES, HubUploads

TOKEN = "hf_canarycanarycanary"


@dataclass
class Repository:
    folder: Path
    gated: str | bool = False
    is_private: bool = False
    allowed_tokens: set[str] = field(default_factory=set)
    num_parameters: int | None = 8
    """What the hub has read from the weights' headers."""
    licence: str | None = "apache-2.0"

    @property
    def sha(self) -> str:
        digest = hashlib.sha1()
        for path in sorted(self.folder.iterdir()):
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_file())


class HubServer:
    """`app` answers for `repositories`; `requests` are method, path and token of what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        """Where it answers, once a test has started it."""
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.answers_with: int | None = None
        """A status for every request: an outage."""
        self.says = "Internal Error"
        self.delay_s = 0.0
        self.uploads = HubUploads(self.repositories, Repository)
        info, tree, resolve = "/api/models/{org}/{name}", "/tree/{revision}", "/{org}/{name}/resolve/{revision}/{file}"
        self.app = Starlette(
            routes=[
                *self.uploads.routes(),
                Route(info, self._info),
                Route(info + "/revision/{revision}", self._info),
                Route(info + tree, self._tree),
                Route(resolve, self._resolve),
            ]
        )

    def gets(self, what: str) -> int:
        """How many requests named `what` in their path."""
        return sum(what in path for _, path, _ in self.requests)

    async def _info(self, request: Request) -> Response:
        repository = await self._find(request)
        return repository if isinstance(repository, Response) else JSONResponse(_info_of(request, repository))

    async def _tree(self, request: Request) -> Response:
        repository = await self._find(request)
        if isinstance(repository, Response):
            return repository
        return JSONResponse([{"type": "file", "path": path.name, **_blob(path)} for path in repository.files()])

    async def _resolve(self, request: Request) -> Response:
        repository = await self._find(request)
        if isinstance(repository, Response):
            return repository
        token = _token(request)
        if repository.gated and token not in repository.allowed_tokens:
            status = 401 if token is None else 403
            return _refusal(status, "GatedRepo", f"Access to model {_name(request)} is restricted.")
        path = repository.folder / request.path_params["file"]
        if not path.is_file():
            return _refusal(404, "EntryNotFound", "Entry not found")
        return _content(request, repository, path)

    async def _find(self, request: Request) -> Repository | Response:
        self.requests.append((request.method, request.url.path, _token(request)))
        await asyncio.sleep(self.delay_s)
        if self.answers_with is not None:
            return _refusal(self.answers_with, None, self.says)
        token = _token(request)
        repository = self.repositories.get(_name(request))
        if repository is None or (repository.is_private and token not in repository.allowed_tokens):
            if token is None:
                return _refusal(401, None, "Invalid username or password.")
            return _refusal(404, "RepoNotFound", "Repository not found")
        if request.path_params.get("revision", "main") not in ("main", repository.sha):
            return _refusal(404, "RevisionNotFound", "Invalid rev id")
        return repository


def _info_of(request: Request, repository: Repository) -> dict[str, Any]:
    config = repository.folder / "config.json"
    info: dict[str, Any] = {
        "_id": "0123456789abcdef01234567",
        "id": _name(request),
        "modelId": _name(request),
        "author": request.path_params["org"],
        "sha": repository.sha,
        "lastModified": "2026-01-02T03:04:05.000Z",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "private": repository.is_private,
        "gated": repository.gated,
        "disabled": False,
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
        "tags": ["transformers", "safetensors"],
        "downloads": 1,
        "likes": 0,
        "config": json.loads(config.read_bytes()) if config.exists() else {},
        "siblings": [
            {"rfilename": path.name, "blobId": "0" * 40, **_size(request, path)} for path in repository.files()
        ],
        "spaces": [],
        "usedStorage": 0,
    }
    if repository.licence is not None:
        info["cardData"] = {"license": repository.licence}
    if repository.num_parameters is not None:
        info["safetensors"] = {"parameters": {"F32": repository.num_parameters}, "total": repository.num_parameters}
    return info


def _size(request: Request, path: Path) -> dict[str, Any]:
    if not request.query_params.get("blobs"):
        return {}
    size = path.stat().st_size
    if size <= LFS_BYTES:
        return {"size": size}
    large = {"size": size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "pointerSize": 134}
    return {"size": size, "lfs": large}


def _blob(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"oid": hashlib.sha1(content).hexdigest(), "size": len(content)}


def _content(request: Request, repository: Repository, path: Path) -> Response:
    content = path.read_bytes()
    headers = {
        "etag": f'"{hashlib.sha1(content).hexdigest()}"',
        "x-repo-commit": repository.sha,
        "accept-ranges": "bytes",
    }
    wanted = request.headers.get("range")
    if wanted is None:
        return Response(content, headers=headers, media_type="application/octet-stream")
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    part = content[int(first) : int(last) + 1 if last else None]
    headers["content-range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
    return Response(part, 206, headers, "application/octet-stream")


def _refusal(status: int, code: str | None, message: str) -> Response:
    headers = {"x-error-message": message} | ({"x-error-code": code} if code else {})
    return JSONResponse({"error": message}, status, headers)


def _name(request: Request) -> str:
    return f"{request.path_params['org']}/{request.path_params['name']}"


def _token(request: Request) -> str | None:
    value = request.headers.get("authorization")
    return value.removeprefix("Bearer ") if value else None
