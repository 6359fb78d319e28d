"""Events as they travel to followers: serialised once, in the process that wrote them or read them from the log."""

from collections.abc import Sequence

from cluster.interfaces import EventDocument
from ftlab.schemas import EventKind
from ftlab.status import JobStatus
from tracking.store.column_types import dump_json
from tracking.store.records import EventRecord


def to_document(record: EventRecord) -> EventDocument:
    """The event as `ftlab.schemas.Event` in JSON, with what carriers need to know about it."""
    text = dump_json(
        {
            "job_id": record.job_id,
            "seq": record.seq,
            "attempt": record.attempt,
            "at": record.at.isoformat().replace("+00:00", "Z"),
            "kind": record.kind,
            "data": record.data,
        }
    )
    is_end = record.kind is EventKind.STATUS and JobStatus(record.data["status"]).is_terminal
    return EventDocument(record.job_id, record.seq, record.owner, record.position, record.kind.value, is_end, text)


def to_documents(records: Sequence[EventRecord]) -> list[EventDocument]:
    return [to_document(record) for record in records]
