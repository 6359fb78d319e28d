"""Messages of the live streams, over WebSockets and as server-sent events. `type` names each of them."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from ftlab.schemas.common import WireModel
from ftlab.schemas.events import Event
from ftlab.status import JobStatus


class OpenMessage(WireModel):
    """The stream has begun: what is recorded after `position` will come."""

    type: Literal["open"] = "open"
    position: int


class EventsMessage(WireModel):
    """One or more events, in order."""

    type: Literal["events"] = "events"
    position: int
    """Where a client that reconnects continues: `seq` of the last event, or its position among those of all jobs."""
    events: list[Event]


class QueueMessage(WireModel):
    """The order of the queue, or what a job waits for, may have changed (streams of all jobs)."""

    type: Literal["queue"] = "queue"


class DeletedMessage(WireModel):
    """A job was deleted, with its events (streams of all jobs)."""

    type: Literal["deleted"] = "deleted"
    job_id: str


class EndMessage(WireModel):
    """The job has ended, and all its events have been sent (streams of one job)."""

    type: Literal["end"] = "end"
    status: JobStatus


class CloseMessage(WireModel):
    """The service ends the stream (server-sent events)."""

    type: Literal["close"] = "close"
    code: str
    """`service_restarts`, `reconnect` or `unavailable`: connect again; `job_deleted`."""
    message: str


class PingMessage(WireModel):
    """Nothing has happened for a while (WebSockets)."""

    type: Literal["ping"] = "ping"


class ErrorMessage(WireModel):
    """The service refuses the request and closes the connection (WebSockets)."""

    type: Literal["error"] = "error"
    error: dict[str, Any]
    """The error, in the format of all errors."""


class AckMessage(WireModel):
    """Sent by clients of WebSockets: they have read everything up to `seq`."""

    type: Literal["ack"] = "ack"
    seq: int
    """The `position` of an events message, or the `seq` of an event of one job."""


StreamMessage = Annotated[
    OpenMessage | EventsMessage | QueueMessage | DeletedMessage | EndMessage | CloseMessage, Field(discriminator="type")
]
"""What server-sent events carry as `data`; the field `event` repeats `type`."""
SocketMessage = Annotated[
    OpenMessage | EventsMessage | QueueMessage | DeletedMessage | EndMessage | PingMessage | ErrorMessage,
    Field(discriminator="type"),
]
"""Frames that the service sends over a WebSocket."""

STREAM_MESSAGE: TypeAdapter[StreamMessage] = TypeAdapter(StreamMessage)
