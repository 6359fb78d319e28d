"""Pause, resume, cancel and delete sweeps; their jobs follow in the coordinator. Every function blocks on the store."""

from datetime import UTC, datetime

from ftlab.errors import ConflictError
from ftlab.schemas.sweeps import Sweep, SweepStatus
from serve.context import Services
from serve.sweeps.replies import describe

MESSAGES = {
    SweepStatus.RUNNING: "The sweep was resumed.",
    SweepStatus.PAUSED: "The sweep is paused; resume it to continue its trials from their checkpoints.",
    SweepStatus.CANCELLED: "The sweep was cancelled; results and checkpoints are kept.",
}


def move(services: Services, owner: str, sweep: str, target: SweepStatus) -> Sweep:
    """Give a sweep another status; one that has it already stays as it is.

    Raise `ConflictError` (code `sweep_ended`) for a sweep that has ended otherwise.
    """
    with services.store.begin() as tx:
        record = tx.sweeps.resolve(sweep, owner=owner)
        if record.status is not target:
            if record.status.has_ended:
                message = f"Sweep {record.id!r} has ended with status {record.status}."
                raise ConflictError(message, "sweep_ended")
            tx.sweeps.move(record, target, MESSAGES[target], now=datetime.now(UTC))
            record = tx.sweeps.get(record.id)
    return describe(services, record)


def delete(services: Services, owner: str, sweep: str) -> None:
    """Raise `NotFoundError`, and what `SweepRepository.delete` raises."""
    with services.store.begin() as tx:
        record = tx.sweeps.resolve(sweep, owner=owner, by_prefix=False)
        tx.sweeps.delete(record, now=datetime.now(UTC))
