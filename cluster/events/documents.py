"""Events as they travel: the hub, the sockets and the log downloads carry the same documents."""

from collections.abc import Sequence
from typing import Any

from ftlab.schemas import Event
from tracking.store.records import EventRecord


def to_event(record: EventRecord) -> Event:
    return Event(
        job_id=record.job_id,
        seq=record.seq,
        attempt=record.attempt,
        at=record.at,
        kind=record.kind,
        data=record.data,
    )


def to_documents(records: Sequence[EventRecord]) -> list[dict[str, Any]]:
    """Events as the hub carries them."""
    return [to_event(record).model_dump(mode="json") for record in records]
