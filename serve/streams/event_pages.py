"""Slices of a log, read once for all streams that are at the same place of it."""

import asyncio
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from cluster.events.documents import to_documents
from cluster.interfaces import EventDocument
from serve.http.responses import in_thread
from serve.streams.logs import Log
from tracking.store import Store

PAGE_EVENTS = 500
MAX_FRAME_BYTES = 256 * 1024
"""A frame ends with the event that exceeds this size."""
CACHE_BYTES = 32 * 1024**2
CACHE_PAGES = 256
PARTIAL_PAGE_TTL_S = 0.5
"""Cache lifetime of a page that was not full; streams continue from its end."""
CACHED_FRAMES = 4
"""Frames that a slice keeps, for streams with different filters."""

Kinds = frozenset[str] | None
"""The kinds of events that a stream shows; `None` means all."""


@dataclass(frozen=True)
class Frame:
    """A message with the events up to number `last`; without text when the stream shows none of them."""

    text: str
    last: int
    numbers: Sequence[int]
    """Those of its events."""

    @property
    def num_events(self) -> int:
        return len(self.numbers)

    @cached_property
    def message(self) -> bytes:
        """The frame as a server-sent event."""
        return f"id: {self.last}\nevent: events\ndata: {self.text}\n\n".encode()


class EventSlice:
    """All events of one log after the number `after`, up to `last`. A deleted job leaves holes in its owner's log."""

    def __init__(self, log: Log, events: Sequence[EventDocument], after: int | None = None) -> None:
        self._events = events
        self._numbers = [log.number(event) for event in events]
        self.after = self._numbers[0] - 1 if after is None else after
        self.last = self._numbers[-1]
        self.has_end = any(event.is_end for event in events)
        """Whether a job had a terminal status in between; a completed one may have been reopened since."""
        self.num_bytes = sum(len(event.text) for event in events)
        self._frames: OrderedDict[tuple[int, Kinds], Frame] = OrderedDict()

    def __len__(self) -> int:
        return len(self._events)

    @classmethod
    def joined(cls, log: Log, slices: Sequence["EventSlice"]) -> "EventSlice":
        """Consecutive slices as one."""
        if len(slices) == 1:
            return slices[0]
        return cls(log, [event for found in slices for event in found._events], slices[0].after)

    def frame(self, after: int, room: int, kinds: Kinds = None) -> Frame:
        """The events after `after` of these kinds, as many as `room` and the size of a frame allow."""
        known = self._frames.get((after, kinds))
        if known and known.num_events <= room:
            return known
        made = self._make_frame(after, room, kinds)
        self._frames[after, kinds] = made
        if len(self._frames) > CACHED_FRAMES:
            self._frames.popitem(last=False)
        return made

    def _make_frame(self, after: int, room: int, kinds: Kinds) -> Frame:
        texts: list[str] = []
        numbers: list[int] = []
        size = 0
        stop = bisect_right(self._numbers, after)
        while stop < len(self._events) and len(texts) < room and size < MAX_FRAME_BYTES:
            event = self._events[stop]
            stop += 1
            if kinds is None or event.kind in kinds:
                texts.append(event.text)
                numbers.append(self._numbers[stop - 1])
                size += len(event.text)
        last = self._numbers[stop - 1]
        text = f'{{"type":"events","position":{last},"events":[{",".join(texts)}]}}' if texts else ""
        return Frame(text, last, numbers)


class EventPages:
    """Reads of the event log. Streams that ask for the same page at the same time share one read."""

    def __init__(self) -> None:
        self._reads: dict[tuple[Log, int], asyncio.Task[EventSlice | None]] = {}
        self._cache: OrderedDict[tuple[Log, int], tuple[EventSlice, float]] = OrderedDict()
        self._cached_bytes = 0

    async def after(self, store: Store, log: Log, number: int) -> EventSlice | None:
        """Up to 500 events after `number`; `None` when the log had no more at the time of the call.

        Raises `ServiceUnavailableError` when the database is unavailable, and `NotFoundError` when the job was deleted.
        """
        key = log, number
        cached = self._cache.get(key)
        if cached and time.monotonic() < cached[1]:
            return cached[0]
        running = self._reads.get(key)
        if running:
            page = await asyncio.shield(running)
            if page:
                return page
            # That read may have begun before the event that woke the caller.
            running = self._reads.get(key)
        if not running:
            running = asyncio.create_task(self._read(store, key))
            self._reads[key] = running
            running.add_done_callback(lambda task: self._finish(key, task))
        return await asyncio.shield(running)

    async def _read(self, store: Store, key: tuple[Log, int]) -> EventSlice | None:
        return await in_thread(_read_page, store, *key)

    def _finish(self, key: tuple[Log, int], read: asyncio.Task[EventSlice | None]) -> None:
        del self._reads[key]
        if read.cancelled() or read.exception():
            return
        page = read.result()
        if page:
            self._keep(key, page)

    def _keep(self, key: tuple[Log, int], page: EventSlice) -> None:
        is_full = len(page) == PAGE_EVENTS
        expires_at = float("inf") if is_full else time.monotonic() + PARTIAL_PAGE_TTL_S
        replaced = self._cache.pop(key, None)
        self._cached_bytes += page.num_bytes - (replaced[0].num_bytes if replaced else 0)
        self._cache[key] = page, expires_at
        while len(self._cache) > CACHE_PAGES or self._cached_bytes > CACHE_BYTES:
            self._cached_bytes -= self._cache.popitem(last=False)[1][0].num_bytes


def slices_of(log: Log, events: Sequence[EventDocument]) -> list[EventSlice]:
    """Order events of one log by number and cut them where one is missing."""
    ordered = sorted({log.number(event): event for event in events}.items())
    cuts = [at for at in range(1, len(ordered)) if ordered[at][0] != ordered[at - 1][0] + 1]
    return [
        EventSlice(log, [event for _, event in ordered[start:stop]])
        for start, stop in pairwise([0, *cuts, len(ordered)])
    ]


def _read_page(store: Store, log: Log, after: int) -> EventSlice | None:
    with store.read() as tx:
        records = log.read(tx, after, PAGE_EVENTS)
    return EventSlice(log, to_documents(records), after) if records else None
