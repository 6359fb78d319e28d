"""Following all jobs of the caller over one stream, over any number of broken connections."""

from collections.abc import AsyncGenerator, AsyncIterator

from ftlab.client._async.transport import AsyncTransport
from ftlab.client.retry import Failure, Retries
from ftlab.client.server_sent import MessageReader
from ftlab.client.wire import SILENCE_S, Fault, Kinds, Request
from ftlab.lines import LineReader
from ftlab.schemas import Event
from ftlab.schemas.streams import EventsMessage, StreamMessage

STREAM_PATH = "/api/training/events/stream"


class AsyncEventStream:
    """Iterator over the events of all jobs: each once, those of one job in order.

    It has no end: stop iterating when you have seen enough. `position` says where another stream continues.
    """

    def __init__(self, transport: AsyncTransport, after: int | None, kinds: Kinds, rate: float | None) -> None:
        self._transport = transport
        self._params = {"kind": kinds, "rate": rate}
        self.position = after
        """`after` of a stream that continues after the events that were handed out; `None` before the stream is open.

        It changes with the last event of a message: the events of a message that was read in part come again.
        """

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for message in self.messages():
            if isinstance(message, EventsMessage):
                for event in message.events:
                    if event is message.events[-1]:
                        self.position = message.position
                    yield event

    async def messages(self) -> AsyncGenerator[StreamMessage]:
        """Everything that the stream says: that it is open, events, changes of the queue, and jobs that were deleted.

        `position` stays where it is: keep that of the messages.
        """
        retries = Retries(self._transport.endpoint, Request("GET", STREAM_PATH))
        last_id = None if self.position is None else str(self.position)
        while True:
            failure: Failure = Fault("the stream ended")
            # Opened here, not in a generator of its own: only this one is closed in order when the caller stops.
            try:
                async with self._transport.stream(self._request(last_id)) as response:
                    if response.is_success:
                        self._transport.endpoint.has_answered = True
                        lines, reader = LineReader(), MessageReader()
                        async for data in response.aiter_bytes():
                            for message in map(reader.take, lines.take(data)):
                                if reader.last_id is not None:
                                    last_id = reader.last_id
                                if message is not None:
                                    retries.restart()
                                    self._note_open(message)
                                    yield message
                    else:
                        failure = response
            except Fault as fault:
                failure = fault
            await self._transport.sleep(retries.after(failure))

    def _note_open(self, message: StreamMessage) -> None:
        if self.position is None:
            self.position = getattr(message, "position", None)

    def _request(self, last_id: str | None) -> Request:
        headers = {} if last_id is None else {"last-event-id": last_id}
        return Request("GET", STREAM_PATH, self._params, headers, timeout_s=SILENCE_S)
