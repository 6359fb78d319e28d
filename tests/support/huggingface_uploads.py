"""The half of the stand-in for the Hugging Face hub that takes uploads.

Paths and documents are those of `huggingface_hub.hf_api` (`create_repo`, `create_commit`), of
`huggingface_hub._commit_api` and of the Git LFS batch API: https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

LFS_BYTES = 4096
"""Larger files are not part of the commit, but uploaded before it."""


class UploadedRepository(Protocol):
    folder: Path
    is_private: bool
    allowed_tokens: set[str]

    @property
    def sha(self) -> str: ...


@dataclass
class HubUploads:
    """Takes uploads of the callers whose tokens are in `owners`."""

    repositories: dict[str, Any]
    make: Any
    """Makes a `Repository` of a folder."""
    folder: Path | None = None
    """Where repositories are created."""
    owners: dict[str, set[str]] = field(default_factory=dict)
    """The users and organisations that each token may write for."""
    large_files: dict[str, bytes] = field(default_factory=dict)
    """Those that arrived, by their SHA-256."""
    received: list[str] = field(default_factory=list)
    """The SHA-256 of each large file, once for each time that it was sent."""
    ignored: set[str] = field(default_factory=set)
    """Names that a `.gitignore` leaves out of commits."""
    fails_with: dict[str, list[int]] = field(default_factory=dict)
    """Statuses of the next requests to a step: create, preupload, batch, put, verify, commit."""
    messages: list[str] = field(default_factory=list)
    """Titles of the commits."""

    def routes(self) -> list[Route]:
        repository = "/api/models/{org}/{name}"
        return [
            Route("/api/repos/create", self._step("create", self._create), methods=["POST"]),
            Route("/api/validate-yaml", self._validate_card, methods=["POST"]),
            Route(f"{repository}/preupload/main", self._step("preupload", self._preupload), methods=["POST"]),
            Route(f"{repository}/commit/main", self._step("commit", self._commit), methods=["POST"]),
            Route("/{org}/{name}.git/info/lfs/objects/batch", self._step("batch", self._batch), methods=["POST"]),
            Route("/large/{oid}", self._step("put", self._put), methods=["PUT"]),
            Route("/{org}/{name}.git/info/lfs/verify", self._step("verify", self._verify), methods=["POST"]),
        ]

    def _step(self, step: str, answer: Any) -> Any:
        async def answered(request: Request) -> Response:
            if statuses := self.fails_with.get(step):
                return refusal(statuses.pop(0), "A limit of the hub.")
            if step != "put":  # the address of a large file is the permission
                token = (request.headers.get("authorization") or "").removeprefix("Bearer ")
                if token not in self.owners:
                    return refusal(401, "Invalid credentials in Authorization header")
                if (owner := request.path_params.get("org")) and owner not in self.owners[token]:
                    return refusal(403, "Forbidden: you must use a write token.")
            response: Response = await answer(request)
            return response

        return answered

    async def _create(self, request: Request) -> Response:
        wanted = await request.json()
        owner, name = wanted["organization"], wanted["name"]
        token = request.headers["authorization"].removeprefix("Bearer ")
        if owner not in self.owners[token]:
            return refusal(403, f"You don't have the rights to create a model under the namespace {owner}.")
        repo = f"{owner}/{name}"
        address = {"url": f"{str(request.base_url).rstrip('/')}/{repo}"}
        if repo in self.repositories:
            return JSONResponse({"error": "You already created this model repo", **address}, 409)
        assert self.folder is not None
        folder = self.folder / repo.replace("/", "--")
        folder.mkdir(parents=True)
        (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
        is_private = wanted.get("visibility") == "private"
        self.repositories[repo] = self.make(folder, is_private=is_private, allowed_tokens=set(self.owners))
        return JSONResponse(address)

    async def _validate_card(self, request: Request) -> Response:
        content = (await request.json())["content"]
        card = yaml.safe_load(content.split("---")[1])
        if isinstance(card, dict) and all(isinstance(value, str | list) for value in card.values()):
            return JSONResponse({"errors": [], "warnings": []})
        return JSONResponse({"errors": [{"message": "metadata is not an object of texts"}], "warnings": []}, 400)

    async def _preupload(self, request: Request) -> Response:
        found = []
        for file in (await request.json())["files"]:
            here = self._repository(request).folder / file["path"]
            is_large = file["size"] > LFS_BYTES
            oid = None
            if here.is_file():
                content = here.read_bytes()
                git = hashlib.sha1(b"blob %d\0" % len(content) + content)
                oid = hashlib.sha256(content).hexdigest() if is_large else git.hexdigest()
            mode = "lfs" if is_large else "regular"
            is_ignored = file["path"] in self.ignored
            found.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": is_ignored, "oid": oid})
        return JSONResponse({"files": found})

    async def _batch(self, request: Request) -> Response:
        base = str(request.base_url).rstrip("/")
        verify = f"{base}/{request.path_params['org']}/{request.path_params['name']}.git/info/lfs/verify"
        objects = []
        for wanted in (await request.json())["objects"]:
            actions = {"upload": {"href": f"{base}/large/{wanted['oid']}"}, "verify": {"href": verify}}
            is_here = wanted["oid"] in self.large_files
            objects.append(wanted if is_here else {**wanted, "actions": actions})
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def _put(self, request: Request) -> Response:
        content = await request.body()
        oid = hashlib.sha256(content).hexdigest()
        if oid != request.path_params["oid"]:
            return refusal(400, "The content does not match its hash.")
        self.large_files[oid] = content
        self.received.append(oid)
        return Response()

    async def _verify(self, request: Request) -> Response:
        wanted = await request.json()
        found = self.large_files.get(wanted["oid"])
        return Response(status_code=200 if found is not None and len(found) == wanted["size"] else 404)

    async def _commit(self, request: Request) -> Response:
        repository = self._repository(request)
        lines = [json.loads(line) for line in (await request.body()).splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, repository.sha):
            return refusal(412, "A commit has happened since. Please refresh and try again.")
        for line in lines[1:]:
            value = line["value"]
            is_large = line["key"] == "lfsFile"
            content = self.large_files[value["oid"]] if is_large else base64.b64decode(value["content"])
            (repository.folder / value["path"]).write_bytes(content)
        self.messages.append(header["summary"])
        repo = f"{request.path_params['org']}/{request.path_params['name']}"
        address = f"{str(request.base_url).rstrip('/')}/{repo}/commit/{repository.sha}"
        return JSONResponse({"success": True, "commitUrl": address, "commitOid": repository.sha})

    def _repository(self, request: Request) -> UploadedRepository:
        found: UploadedRepository = self.repositories[f"{request.path_params['org']}/{request.path_params['name']}"]
        return found


def refusal(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status, {"x-error-message": message})
