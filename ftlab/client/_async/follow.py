"""Following a job: its events in order, each once, over any number of broken connections.

The WebSocket is fast, the recorded events are reliable. Whatever goes wrong with the socket - refused, cut, silent, a
gap in the sequence - the events endpoint closes the gap, waits out an outage by the rules of `retry`, and reports the
real error, such as an unknown job. Then the socket is opened again after the last sequence number seen.
"""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from websockets.asyncio.client import connect

from ftlab.client._async.transport import AsyncTransport
from ftlab.client.endpoint import RetryPolicy
from ftlab.client.sockets import Acks, EventsPage, async_receive, read_frame, socket_faults, socket_options
from ftlab.client.wire import EVENTS_PAGE, SILENCE_S, Kinds, Request, SocketClosed, job_path
from ftlab.schemas import Event, Job

POLL_S = 1.0
REOPEN = RetryPolicy(first_delay_s=0.5, max_delay_s=15.0)
"""How long events are polled before the socket is opened again, by the number of sockets that brought nothing."""


async def recorded(transport: AsyncTransport, job: str, after: int, kinds: Kinds = None) -> AsyncGenerator[Event]:
    """The events that are recorded so far, of these kinds only."""
    while True:
        params = {"after": after, "limit": EVENTS_PAGE, "kind": kinds}
        page = await transport.read(EventsPage, Request("GET", f"{job_path(job)}/events", params))
        for event in page.data:
            if event.seq > after:
                after = event.seq
                yield event
        if not page.data or after >= page.last_seq:
            return


class AsyncFollower:
    """Iterator over the events of one job, recorded and live."""

    def __init__(self, transport: AsyncTransport, job: str, after: int) -> None:
        self._transport = transport
        self._endpoint = transport.endpoint
        self._job = job
        self._seq = after
        """The newest event that was handed out."""
        self._has_ended = False

    async def events(self) -> AsyncGenerator[Event]:
        """The events that are still to be handed out, until the job has ended."""
        # The socket takes only the id itself; everywhere else a name or a prefix will do.
        found = await self._get_job()
        self._job = found.id
        num_failures = 0
        while not self._has_ended:
            before = self._seq
            # Opened here, not in a generator of its own: only this one is closed in order when the caller stops.
            with suppress(SocketClosed), socket_faults():
                async with connect(**socket_options(self._endpoint, self._job, self._seq)) as socket:
                    self._endpoint.has_answered = True
                    acks = Acks()
                    try:
                        while not self._has_ended:
                            text = await async_receive(socket, SILENCE_S)
                            kind, events = read_frame(text)
                            async for event in self._fresh(events):
                                yield event
                            if acks.is_due(text, len(events)):
                                await socket.send(json.dumps({"type": "ack", "seq": self._seq}))
                            self._has_ended = kind == "end"
                    finally:
                        # With the code of a normal end, also when an exception ends it here.
                        await socket.close()
            num_failures = 1 if self._seq > before else num_failures + 1
            if not self._has_ended:
                async for event in self._poll(REOPEN.delay_s(num_failures, self._endpoint.jitter())):
                    yield event

    async def _fresh(self, events: Sequence[Event]) -> AsyncGenerator[Event]:
        """The events that are new to the caller, preceded by any that are missing before them."""
        for event in events:
            if event.seq > self._seq + 1:
                async for missed in self._catch_up():
                    yield missed
            if event.seq > self._seq:
                self._seq = event.seq
                yield event

    async def _poll(self, duration_s: float) -> AsyncGenerator[Event]:
        """Recorded events for a while, or until the job has ended."""
        until = self._endpoint.clock() + duration_s
        while True:
            async for event in self._catch_up():
                yield event
            found = await self._get_job()
            self._has_ended = found.status.is_terminal and found.last_seq <= self._seq
            left_s = until - self._endpoint.clock()
            if self._has_ended or left_s <= 0:
                return
            await self._transport.sleep(min(POLL_S, left_s))

    async def _catch_up(self) -> AsyncGenerator[Event]:
        async for event in recorded(self._transport, self._job, self._seq):
            self._seq = event.seq
            yield event

    async def _get_job(self) -> Job:
        return await self._transport.read(Job, Request("GET", job_path(self._job)))
