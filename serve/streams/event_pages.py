"""Runs of a job's events, read once and serialised once for all sockets that stand at the same place."""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from cluster.events.documents import to_documents
from ftlab.schemas import EventKind
from ftlab.status import JobStatus
from serve.http.responses import in_thread
from tracking.store import Store

PAGE_EVENTS = 500
MAX_FRAME_BYTES = 256 * 1024
"""A frame ends with the event that passes this size."""
CACHE_BYTES = 32 * 1024**2
CACHE_PAGES = 256
PARTIAL_PAGE_TTL_S = 0.5
"""How long a page that the log may have outgrown serves sockets that connect; they read on from its end."""
TERMINAL = {status.value: status for status in JobStatus if status.is_terminal}


@dataclass(frozen=True)
class Frame:
    """A WebSocket message with the events up to `last`."""

    text: str
    last: int


class Batch:
    """Events of one job without a gap: `first` to `last`."""

    def __init__(self, first: int, events: Sequence[str], end: JobStatus | None) -> None:
        self.first = first
        self.last = first + len(events) - 1
        self.end = end
        """The terminal status in which the job is after the last event, as far as these events tell."""
        self.num_bytes = sum(map(len, events))
        self._events = events
        self._newest: tuple[int, Frame] | None = None

    @classmethod
    def of(cls, events: Sequence[dict[str, Any]]) -> Self:
        """Serialise `ftlab.schemas.Event` documents with consecutive sequence numbers."""
        statuses = [event["data"]["status"] for event in events if event["kind"] == EventKind.STATUS]
        end = TERMINAL.get(statuses[-1]) if statuses else None
        return cls(events[0]["seq"], [to_json(event) for event in events], end)

    def __len__(self) -> int:
        return len(self._events)

    def frame(self, after: int, room: int) -> Frame:
        """The events behind `after`, as many as `room` and the size of a frame allow, and at least one."""
        if self._newest and self._newest[0] == after and self._newest[1].last - after <= room:
            return self._newest[1]
        start = stop = after + 1 - self.first
        size = 0
        while stop < len(self._events) and stop - start < room and size < MAX_FRAME_BYTES:
            size += len(self._events[stop])
            stop += 1
        text = f'{{"type":"events","events":[{",".join(self._events[start:stop])}]}}'
        frame = Frame(text, self.first + stop - 1)
        self._newest = after, frame
        return frame


class EventPages:
    """Reads of the event log. Sockets that ask for the same page at the same time share one read."""

    def __init__(self) -> None:
        self._reads: dict[tuple[str, int], asyncio.Task[Batch | None]] = {}
        self._cache: OrderedDict[tuple[str, int], tuple[Batch, float]] = OrderedDict()
        self._cached_bytes = 0

    async def after(self, store: Store, job_id: str, seq: int) -> Batch | None:
        """Up to 500 events behind `seq`; `None` when the log held no more at the time of the call.

        Raises `ServiceUnavailableError` when the database is away.
        """
        key = job_id, seq
        cached = self._cache.get(key)
        if cached and time.monotonic() < cached[1]:
            return cached[0]
        running = self._reads.get(key)
        if running:
            batch = await asyncio.shield(running)
            if batch:
                return batch
            # That read may have begun before the event that brought the caller here.
            running = self._reads.get(key)
        if not running:
            running = asyncio.create_task(self._read(store, key))
            self._reads[key] = running
            running.add_done_callback(lambda task: self._finish(key, task))
        return await asyncio.shield(running)

    async def _read(self, store: Store, key: tuple[str, int]) -> Batch | None:
        return await in_thread(_read_page, store, *key)

    def _finish(self, key: tuple[str, int], read: asyncio.Task[Batch | None]) -> None:
        del self._reads[key]
        if read.cancelled() or read.exception():
            return
        batch = read.result()
        if batch:
            self._keep(key, batch)

    def _keep(self, key: tuple[str, int], batch: Batch) -> None:
        is_full = len(batch) == PAGE_EVENTS
        expires_at = float("inf") if is_full else time.monotonic() + PARTIAL_PAGE_TTL_S
        replaced = self._cache.pop(key, None)
        self._cached_bytes += batch.num_bytes - (replaced[0].num_bytes if replaced else 0)
        self._cache[key] = batch, expires_at
        while len(self._cache) > CACHE_PAGES or self._cached_bytes > CACHE_BYTES:
            self._cached_bytes -= self._cache.popitem(last=False)[1][0].num_bytes


def runs(events: Sequence[dict[str, Any]]) -> list[Batch]:
    """Order one job's events by number and cut them where one is missing."""
    ordered = list({event["seq"]: event for event in sorted(events, key=lambda event: int(event["seq"]))}.values())
    cuts = [at for at in range(1, len(ordered)) if ordered[at]["seq"] != ordered[at - 1]["seq"] + 1]
    bounds = [0, *cuts, len(ordered)]
    return [Batch.of(ordered[start:stop]) for start, stop in pairwise(bounds)]


def _read_page(store: Store, job_id: str, seq: int) -> Batch | None:
    with store.read() as tx:
        records = tx.events.after(job_id, seq, limit=PAGE_EVENTS)
    return Batch.of(to_documents(records)) if records else None


def to_json(event: dict[str, Any]) -> str:
    """One line of JSON in ASCII; its length is its size."""
    try:
        return json.dumps(event, allow_nan=False, separators=(",", ":"))
    except ValueError:
        # JSON has no NaN and no infinities: they travel as null.
        finite = json.loads(json.dumps(event), parse_constant=lambda _: None)
        return json.dumps(finite, separators=(",", ":"))
