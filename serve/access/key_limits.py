"""Limits of each key: requests in a minute, bytes of uploads in an hour, and live streams at the same time.

Each API process counts by itself, so that no request waits for the database, and shares its counts about once a second
through a table. With several replicas, a key can therefore exceed a limit by what they let in within that second.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ftlab.errors import RateLimitError, ServiceUnavailableError
from ftlab.settings import Settings
from serve.http.errors import RATE_WINDOW_S, UPLOAD_WINDOW_S
from serve.http.responses import in_thread
from tracking.store import Store
from tracking.store.ids import new_id
from tracking.store.key_counts import KeyCount, Windows

SYNC_INTERVAL_S = 1.0


class KeyLimits:
    """The counts of one API process, and what it knows of the others. `clock` gives seconds since 1970."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._max_requests = settings.key_requests_per_minute
        self._max_streams = settings.key_streams
        self._max_upload_bytes = settings.key_upload_bytes_per_hour
        self._clock = clock
        self._process = new_id("api")
        self._windows = Windows(0, 0)
        self._requests: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._upload_bytes: Counter[str] = Counter()
        self._uploading: set[str] = set()
        """Keys whose bytes the other processes do not know yet."""
        self._others: dict[str, KeyCount] = {}

    def count_request(self, key_id: str) -> None:
        """Raise `RateLimitError` (code `rate_limited`) for a request too many in the current minute."""
        self._turn_windows()
        others = self._others.get(key_id)
        of_others = others.num_requests if others is not None and others.window == self._windows.requests else 0
        if self._max_requests is not None and self._requests[key_id] + of_others >= self._max_requests:
            raise RateLimitError(
                f"This API key has sent {self._max_requests} requests in this minute, which is its limit."
            )
        self._requests[key_id] += 1

    def check_upload(self, key_id: str | None, num_bytes: int) -> None:
        """Raise `RateLimitError` (code `upload_rate_limited`) when this many more would be too many in this hour."""
        if key_id is None or self._max_upload_bytes is None:
            return
        self._turn_windows()
        others = self._others.get(key_id)
        is_current = others is not None and others.upload_window == self._windows.uploads
        received = self._upload_bytes[key_id] + (others.num_upload_bytes if others is not None and is_current else 0)
        if received + num_bytes > self._max_upload_bytes:
            raise RateLimitError(
                f"This API key may upload {self._max_upload_bytes} bytes in an hour, and has uploaded {received}: "
                "try again in the next hour.",
                "upload_rate_limited",
            )

    def count_upload(self, key_id: str | None, num_bytes: int) -> None:
        """Count bytes that have arrived. Raises what `check_upload` raises."""
        self.check_upload(key_id, num_bytes)
        if key_id is not None:
            self._upload_bytes[key_id] += num_bytes
            self._uploading.add(key_id)

    def check_stream(self, key_id: str | None) -> None:
        """Raise `RateLimitError` (code `too_many_streams`) when one more live stream would be too many."""
        if key_id is None or self._max_streams is None:
            return
        others = self._others.get(key_id)
        num_open = self._streams[key_id] + (others.num_streams if others is not None else 0)
        if num_open >= self._max_streams:
            raise RateLimitError(
                f"This API key has {num_open} live streams open, and its limit is {self._max_streams}: close one.",
                "too_many_streams",
            )

    @contextmanager
    def stream(self, key_id: str | None) -> Iterator[None]:
        """Count a live stream while it is open."""
        if key_id is None:
            yield
            return
        self._streams[key_id] += 1
        try:
            yield
        finally:
            self._streams[key_id] -= 1

    async def run(self, store: Store) -> None:
        """Share the counts now and then, until cancelled."""
        while True:
            await asyncio.sleep(SYNC_INTERVAL_S)
            if self._requests or self._uploading or +self._streams:
                with suppress(ServiceUnavailableError):
                    await in_thread(self.sync, store)

    def sync(self, store: Store) -> None:
        """Write the counts of this process, and read those of the others. Blocks on the store."""
        self._turn_windows()
        windows, now = self._windows, self._clock()
        uploading, self._uploading = self._uploading, set()
        keys = sorted(set(self._requests) | uploading | set(+self._streams))
        try:
            with store.begin() as tx:
                tx.key_counts.put(self._process, [self._count(key) for key in keys], windows=windows, now=now)
                self._others = tx.key_counts.of_others(self._process, keys, windows=windows, now=now)
        except ServiceUnavailableError:
            self._uploading |= uploading
            raise

    def _count(self, key: str) -> KeyCount:
        windows = self._windows
        return KeyCount(
            key, windows.requests, self._requests[key], self._streams[key], windows.uploads, self._upload_bytes[key]
        )

    def _turn_windows(self) -> None:
        now = self._clock()
        windows = Windows(int(now // RATE_WINDOW_S), int(now // UPLOAD_WINDOW_S))
        if windows.requests != self._windows.requests:
            self._requests.clear()
        if windows.uploads != self._windows.uploads:
            self._upload_bytes.clear()
        self._windows = windows
