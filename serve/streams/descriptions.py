"""The messages of the live streams in the API's description, which FastAPI knows nothing about."""

from typing import Any

from pydantic import TypeAdapter

from ftlab.schemas.hub import PushMessage
from ftlab.schemas.streams import AckMessage, SocketMessage, StreamMessage

REFERENCE = "#/components/schemas/{model}"
EVENT_STREAMS = ("/api/training/events/stream", "/api/training/jobs/{job_id}/events/stream")
PUSH = "/api/training/jobs/{job_id}/exports/{artifact}/push"
MEDIA_TYPE = "text/event-stream"
SOCKETS = {
    "/ws/training": "Stream the events of all jobs over a WebSocket",
    "/ws/training/{job_id}": "Stream the events of a job over a WebSocket",
}


def describe_streams(document: dict[str, Any]) -> None:
    """Add the messages of the streams, and the routes of the WebSockets with the parameters of the other streams."""
    adapters: list[TypeAdapter[Any]] = [
        *(TypeAdapter(StreamMessage), TypeAdapter(SocketMessage), TypeAdapter(AckMessage), TypeAdapter(PushMessage))
    ]
    inputs = [(str(number), "serialization", adapter) for number, adapter in enumerate(adapters)]
    found, definitions = TypeAdapter.json_schemas(inputs, ref_template=REFERENCE)  # type: ignore[arg-type]
    events, frames, ack, push = (schema for _, schema in sorted(found.items()))
    schemas = document["components"]["schemas"]
    for name, schema in definitions["$defs"].items():
        schemas.setdefault(name, schema)
    paths = document["paths"]
    for path in EVENT_STREAMS:
        paths[path]["get"]["responses"]["200"]["content"] = {MEDIA_TYPE: {"schema": events}}
    paths[PUSH]["post"]["responses"]["200"]["content"] = {MEDIA_TYPE: {"schema": push}}
    for (path, summary), like in zip(SOCKETS.items(), EVENT_STREAMS, strict=True):
        paths[path] = {"get": _socket(summary, paths[like]["get"], frames, ack)}


def _socket(summary: str, like: dict[str, Any], frames: dict[str, Any], ack: dict[str, Any]) -> dict[str, Any]:
    """An upgrade to a WebSocket, with the query of a stream of server-sent events."""
    content = {"application/json": {"schema": frames}}
    return {
        "tags": ["streams"],
        "summary": summary,
        "description": "An HTTP upgrade. The service sends the frames of the reply as text; clients send acks.",
        "operationId": f"{like['operationId']}_socket",
        "parameters": [each for each in like["parameters"] if each["in"] != "header"],
        "responses": {"101": {"description": "Frames of the service", "content": content}},
        "x-client-frames": ack,
    }
