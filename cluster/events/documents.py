"""Events as they travel to followers: serialised once, in the process that wrote them or read them from the log."""

from collections.abc import Sequence

from cluster.interfaces import EventDocument
from ftlab.schemas import EventKind
from ftlab.status import JobStatus
from tracking.store.column_types import dump_json
from tracking.store.records import EventRecord


def to_document(record: EventRecord) -> EventDocument:
    """The event as `ftlab.schemas.Event` in JSON, with what carriers need to know about it."""
    at = record.at.isoformat().replace("+00:00", "Z")
    text = dump_json(vars(record) | {"at": at})
    is_end = record.kind is EventKind.STATUS and JobStatus(record.data["status"]).is_terminal
    return EventDocument(record.job_id, record.seq, is_end, text)


def to_documents(records: Sequence[EventRecord]) -> list[EventDocument]:
    return [to_document(record) for record in records]
