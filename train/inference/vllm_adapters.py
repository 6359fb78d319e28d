"""The LoRA adapters of a vLLM server, loaded when a request names them and removed when others need their place."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import httpx2

from ftlab.errors import FineTuneLabError, InternalServerError, InvalidRequestError, ServiceUnavailableError
from train.inference.language_model import MAX_ADAPTERS, AdapterKey, adapter_key

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"

logger = logging.getLogger(__name__)


class VllmAdapters:
    """The adapters that the server has in memory. Everything runs on one event loop."""

    def __init__(self, http: httpx2.AsyncClient, links: Path) -> None:
        """`links` is a folder for links to the adapters: the server writes the paths that it loads into its log, which
        the owner of the engine may read."""
        self._http = http
        self._links = links
        self._names: dict[AdapterKey, str] = {}
        """Names in the server; that of the most recently used adapter last."""
        self._num_uses: Counter[AdapterKey] = Counter()
        """Running answers of each adapter."""
        self._numbers = count(1)
        self._changing = asyncio.Lock()

    @asynccontextmanager
    async def using(self, folder: Path | None) -> AsyncIterator[str | None]:
        """Keep the adapter in a folder in memory; yields its name in the server, and `None` for the base model.

        Raise `InvalidRequestError` (`model_invalid`) for a folder without weights, and what `error_of` returns for an
        adapter that the server does not take.
        """
        if folder is None:
            yield None
            return
        key = adapter_key(folder)
        async with self._changing:
            name = self._names.pop(key, None) or await self._load(folder)
            self._names[key] = name
            self._num_uses[key] += 1
            await self._remove_unused()
        try:
            yield name
        finally:
            self._num_uses[key] -= 1

    async def _load(self, folder: Path) -> str:
        # A name is never used again: what answers under it must not change.
        name = f"adapter-{next(self._numbers)}"
        link = self._links / name
        link.symlink_to(folder, target_is_directory=True)
        reply = await self._http.post(LOAD, json={"lora_name": name, "lora_path": str(link)})
        if reply.status_code != httpx2.codes.OK:
            raise error_of(reply.status_code, reply.content, "load the adapter")
        return name

    async def _remove_unused(self) -> None:
        for key in [key for key in self._names if not self._num_uses[key]]:
            if len(self._names) <= MAX_ADAPTERS:
                return
            name = self._names.pop(key)
            del self._num_uses[key]
            reply = await self._http.post(UNLOAD, json={"lora_name": name})
            if reply.status_code != httpx2.codes.OK:  # the server removes the least recently used ones by itself
                logger.warning("vLLM did not unload %s: status %d", name, reply.status_code)


def error_of(status: int, content: bytes, task: str) -> FineTuneLabError:
    """The error for a reply of the server whose status is not 200, when it was asked to do `task`."""
    try:
        said = str(json.loads(content)["error"]["message"])
    except (ValueError, TypeError, KeyError):
        said = f"HTTP status {status}"
    message = f"vLLM could not {task} ({' '.join(said.split())[:300].rstrip('.')})."
    if status == httpx2.codes.SERVICE_UNAVAILABLE:
        return ServiceUnavailableError(message)
    return InvalidRequestError(message) if 400 <= status < 500 else InternalServerError(message)
