"""OpenAI's API as the import sees it: lists in pages, contents of files, and the failures that it answers with."""

import base64
import json
from collections import Counter
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

KEY = "sk-organisation"
PAGE = 2
"""Most items of a page, whatever the client asks for."""


class OpenAiStub:
    """`failures` are the statuses of the next replies to a path; `asked` counts the requests by path."""

    def __init__(self) -> None:
        self.files: list[dict[str, Any]] = []
        self.contents: dict[str, bytes] = {}
        self.jobs: list[dict[str, Any]] = []
        self.failures: dict[str, list[int]] = {}
        self.asked: Counter[str] = Counter()
        self.app = FastAPI()
        self.app.add_api_route("/v1/{path:path}", self._reply)

    def add_file(self, file_id: str, content: bytes, filename: str, purpose: str = "fine-tune") -> None:
        described = {"id": file_id, "object": "file", "bytes": len(content), "created_at": len(self.files)}
        self.files.insert(0, described | {"filename": filename, "purpose": purpose, "status": "processed"})
        self.contents[file_id] = content

    def add_results(self, file_id: str, text: str) -> None:
        self.add_file(file_id, base64.b64encode(text.encode()), "step_metrics.csv", "fine-tune-results")

    def add_job(self, job_id: str, **fields: Any) -> None:
        hyperparameters = {"n_epochs": 3, "batch_size": 12, "learning_rate_multiplier": 0.5}
        job = {"id": job_id, "object": "fine_tuning.job", "created_at": len(self.jobs), "status": "succeeded"}
        given = {"model": "gpt-4o-mini-2024-07-18", "seed": 7, "hyperparameters": hyperparameters} | fields
        self.jobs.insert(0, job | given)

    def _reply(self, request: Request, path: str) -> Response:
        self.asked[path] += 1
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return _error(401, "Incorrect API key provided.")
        if self.failures.get(path):
            return _error(self.failures[path].pop(0), "The server had an error.")
        if path.endswith("/content"):
            content = self.contents.get(path.split("/")[1])
            return _error(404, "No such File object.") if content is None else Response(content)
        items = self.files if path == "files" else self.jobs
        start = 0
        if after := request.query_params.get("after"):
            start = next(number for number, item in enumerate(items, 1) if item["id"] == after)
        size = min(PAGE, int(request.query_params.get("limit", PAGE)))
        found = items[start : start + size]
        page = {"object": "list", "data": found, "has_more": len(items) > start + size}
        return Response(json.dumps(page), media_type="application/json")


def _error(status: int, message: str) -> JSONResponse:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status)
