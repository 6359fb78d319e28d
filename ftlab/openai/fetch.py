"""Copies an organisation's fine-tuning files and jobs into a folder, through OpenAI's API. May be stopped and repeated.

The folder gets `ID.json` for each file and job, and `ID.jsonl` (or `.csv`, for results) with the content of a file.
"""

import base64
import binascii
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from ftlab.backoff import backoff_s
from ftlab.errors import AuthenticationError, FineTuneLabError, NotFoundError, UnreachableError, error_class

RESULTS = "fine-tune-results"
PURPOSES = {"fine-tune": ".jsonl", RESULTS: ".csv"}
"""Purposes of files that are copied, and the suffix of their content."""
PAGE = 100
MAX_TRIES = 6
LONGEST_PAUSE_S = 30.0
TIMEOUT_S = 60.0
CHUNK_BYTES = 1024**2
TEMPORARY = frozenset({408, 409, 429})

Report = Callable[[str], object]


class OpenAiAccount:
    """The files and jobs of one key. `sleep` waits between two tries."""

    def __init__(self, url: str, key: str, sleep: Callable[[float], object] = time.sleep) -> None:
        self._client = httpx2.Client(
            base_url=f"{url.rstrip('/')}/",
            headers={"authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
            follow_redirects=True,
        )
        self._sleep = sleep

    def close(self) -> None:
        self._client.close()

    def copy(self, folder: Path, report: Report) -> int:
        """Copy what the folder does not have; returns the number of new files and jobs.

        A file that OpenAI does not hand out is reported, and its record is kept. Raises `AuthenticationError` for a
        wrong key, and `UnreachableError` when OpenAI does not answer.
        """
        folder.mkdir(parents=True, exist_ok=True)
        num_new = 0
        for file in self._list("files"):
            suffix = PURPOSES.get(str(file.get("purpose")))
            if suffix is not None and _is_safe(file["id"]):
                num_new += self._copy_file(folder, file, suffix, report)
        for job in self._list("fine_tuning/jobs"):
            if _is_safe(job["id"]):
                num_new += _write(folder / f"{job['id']}.json", json.dumps(job, indent=2).encode())
        return num_new

    def _copy_file(self, folder: Path, file: dict[str, Any], suffix: str, report: Report) -> bool:
        target = folder / f"{file['id']}{suffix}"
        _write(folder / f"{file['id']}.json", json.dumps(file, indent=2).encode())
        if target.exists():
            return False
        part = target.with_name(f".{target.name}.part")
        try:
            self._download(f"files/{file['id']}/content", part)
        except (AuthenticationError, UnreachableError):
            raise
        except FineTuneLabError as error:
            report(f"{file['id']} ({file.get('filename')}) cannot be downloaded: {error.message}")
            return False
        if file["purpose"] == RESULTS:
            _decode(part)
        part.replace(target)
        report(f"Copied {file['id']} ({file.get('filename')}).")
        return True

    def _list(self, path: str) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page."""
        after: dict[str, str] = {}
        while True:
            page = self._try(partial(self._get, path, {"limit": str(PAGE), **after}))
            yield from page["data"]
            if not page.get("has_more") or not page["data"]:
                return
            after = {"after": page["data"][-1]["id"]}

    def _get(self, path: str, query: dict[str, str]) -> Any:
        reply = self._client.get(path, params=query)
        _check(reply)
        return reply.json()

    def _download(self, path: str, target: Path) -> None:
        def download() -> None:
            with self._client.stream("GET", path) as reply, target.open("wb") as out:
                if reply.status_code >= 400:
                    reply.read()
                _check(reply)
                for chunk in reply.iter_bytes(CHUNK_BYTES):
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())

        self._try(download)

    def _try(self, call: Callable[[], Any]) -> Any:
        """The result of a call, which is repeated while OpenAI is busy or cannot be reached."""
        for number in range(1, MAX_TRIES + 1):
            try:
                return call()
            except (httpx2.TransportError, _Busy) as error:
                if number == MAX_TRIES:
                    raise UnreachableError(f"{self._client.base_url} does not answer: {error}") from None
                self._sleep(backoff_s(number, first_s=1.0, longest_s=LONGEST_PAUSE_S))
        raise AssertionError


class _Busy(Exception):
    """A reply that asks to try again."""


def _check(reply: httpx2.Response) -> None:
    if reply.status_code < 400:
        return
    if reply.status_code in TEMPORARY or reply.status_code >= 500:
        raise _Busy(f"HTTP status {reply.status_code}")
    try:
        message = str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"HTTP status {reply.status_code}"
    if reply.status_code == 401:
        raise AuthenticationError(f"OpenAI does not accept the key: {message}")
    if reply.status_code == 404:
        raise NotFoundError(message, "file_not_found")
    raise error_class(reply.status_code)(message)


def _decode(results: Path) -> None:
    """Write the results of a job as plain CSV, which OpenAI encodes in base64."""
    try:
        plain = base64.b64decode(results.read_bytes(), validate=True)
    except binascii.Error:
        return  # not encoded
    results.write_bytes(plain)


def _is_safe(name: object) -> bool:
    """Whether an id can be the name of a file."""
    return isinstance(name, str) and name.replace("-", "").replace("_", "").isalnum()


def _write(path: Path, content: bytes) -> bool:
    """Write a file as a whole; False when it was there with this content."""
    if path.exists() and path.read_bytes() == content:
        return False
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)
    return True
