"""Sweeps and their trials. The trials are the whole state of a search: it continues from these rows alone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack

from sqlalchemy import Connection, Select, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from ftlab.errors import ConflictError
from ftlab.schemas.sweep_rules import parse_sweep
from ftlab.schemas.sweeps import SweepConfig, SweepStatus, TrialState, Value
from ftlab.status import ReasonCode
from tracking.store.deleted_rows import deleted_records
from tracking.store.errors import DuplicateError, JobBusyError, StaleJobError
from tracking.store.naming import find_key, not_found
from tracking.store.paging import newest_first
from tracking.store.rows import columns_of, jobs
from tracking.store.sweep_rows import IS_AT_WORK, IS_BEHIND_MLFLOW, sweep_trials, sweeps


@dataclass(frozen=True)
class SweepRecord:
    """One sweep."""

    id: str
    owner: str
    name: str
    config: dict[str, Any]
    """As it runs: with ids of datasets, and a value for each `auto`."""
    whole: tuple[str, ...]
    """Parameters whose ranges are of whole numbers."""
    rungs: tuple[int, ...]
    max_trials: int
    auto: dict[str, Any]
    base_job_id: str | None
    """The job whose files all trials start from."""
    model_revision: str | None
    status: SweepStatus
    message: str
    is_settled: bool
    """Whether the coordinator has nothing left to do for it."""
    idempotency_key: str | None
    body_sha256: str
    created_at: datetime
    finished_at: datetime | None
    mlflow_run_id: str | None = None
    mlflow_experiment_id: str | None = None
    mlflow_status: SweepStatus | None = None
    """The status that MLflow has of it; that of a sweep that has ended once it is settled."""

    @property
    def parsed(self) -> SweepConfig:
        """Raise `InvalidRequestError` for a config that this version cannot read."""
        return parse_sweep(self.config, f"The config of sweep {self.id}")


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a sweep."""

    sweep_id: str
    number: int
    job_id: str | None
    parameters: dict[str, Value]
    state: TrialState
    value: float | None
    rung_values: tuple[float, ...]
    rung: int
    """Number of rungs that it may pass."""
    is_held: bool
    """Whether its job is paused because the sweep is."""
    reason: ReasonCode | None
    message: str | None
    run_time_s: float | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN and self.finished_at is None


ENDED = tuple(status for status in SweepStatus if status.has_ended)
OPEN = (TrialState.RUNNING, TrialState.PRUNED)
"""States of trials whose jobs may still run."""
COLUMNS = columns_of(sweeps, SweepRecord)
TRIAL_COLUMNS = columns_of(sweep_trials, TrialRecord)
SweepRecords = list[SweepRecord]
TrialRecords = list[TrialRecord]


class TrialFields(TypedDict, total=False):
    """What may change of a trial."""

    state: TrialState
    value: float | None
    rung_values: Sequence[float]
    rung: int
    is_held: bool
    reason: ReasonCode | None
    message: str | None
    run_time_s: float | None
    finished_at: datetime | None


class SweepRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, record: SweepRecord) -> None:
        """Raise `DuplicateError` for an idempotency key of this owner."""
        values = vars(record) | {"whole": list(record.whole), "rungs": list(record.rungs)}
        try:
            self._connection.execute(insert(sweeps), values)
        except IntegrityError as error:
            raise DuplicateError("The idempotency key or the sweep id has been used before.") from error

    def get(self, sweep_id: str) -> SweepRecord:
        """Raise `NotFoundError` when there is no such sweep."""
        return self._one(select(*COLUMNS).where(sweeps.c.id == sweep_id), sweep_id)

    def resolve(self, text: str, *, owner: str, by_prefix: bool = True) -> SweepRecord:
        """Find a sweep by its id, its name, or the beginning of its id, as jobs are found."""
        prefix = "sweep" if by_prefix else ""
        key = find_key(self._connection, sweeps, sweeps.c.seq, text, owner=owner, kind="sweep", prefix=prefix)
        return self._one(select(*COLUMNS).where(sweeps.c.seq == key), text)

    def find_idempotent(self, owner: str, key: str) -> SweepRecord | None:
        """The sweep that was submitted with this key."""
        mine = select(*COLUMNS).where(sweeps.c.owner == owner, sweeps.c.idempotency_key == key)
        row = self._connection.execute(mine).one_or_none()
        return None if row is None else _to_sweep(row)

    def deleted_of_key(self, owner: str, key: str) -> str | None:
        """The id of the deleted sweep that was submitted with this key, the newest if there are several."""
        its_key = deleted_records.c.idempotency_key == key
        found = select(deleted_records.c.id).where(deleted_records.c.owner == owner, its_key)
        return self._connection.execute(found.order_by(deleted_records.c.seq.desc()).limit(1)).scalar_one_or_none()

    def list(self, *, owner: str, after: str | None, limit: int) -> SweepRecords:
        """One page, newest first."""
        page = newest_first(
            self._connection, select(*COLUMNS), sweeps, sweeps.c.seq, owner=owner, after=after, limit=limit
        )
        return [_to_sweep(row) for row in self._connection.execute(page)]

    def at_work(self) -> SweepRecords:
        """Sweeps that the coordinator has something to do for, oldest first."""
        found = select(*COLUMNS).where(IS_AT_WORK).order_by(sweeps.c.seq)
        return [_to_sweep(row) for row in self._connection.execute(found)]

    def behind_mlflow(self, limit: int) -> Sequence[str]:
        """Ids of the sweeps whose status MLflow does not have, oldest first; of those that ended, the settled ones."""
        is_final = or_(sweeps.c.is_settled, sweeps.c.status.not_in(ENDED))
        behind = select(sweeps.c.id).where(IS_BEHIND_MLFLOW, is_final).order_by(sweeps.c.seq).limit(limit)
        return self._connection.execute(behind).scalars().all()

    def mlflow_run_of(self, sweep_id: str) -> str | None:
        """The sweep's run in MLflow, where it has one."""
        found = select(sweeps.c.mlflow_run_id).where(sweeps.c.id == sweep_id)
        return self._connection.execute(found).scalar_one_or_none()

    def set_mlflow_run(self, sweep_id: str, *, run_id: str, experiment_id: str) -> None:
        values = {"mlflow_run_id": run_id, "mlflow_experiment_id": experiment_id}
        self._connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(values))

    def set_mlflow_status(self, sweep_id: str, status: SweepStatus) -> None:
        """Note that MLflow has the sweep as it was with this status."""
        self._connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(mlflow_status=status))

    def lock(self, record: SweepRecord) -> None:
        """Lock a sweep until the transaction ends. Raise `StaleJobError` when it is not as `record` says any more."""
        status = select(sweeps.c.status).where(sweeps.c.id == record.id).with_for_update()
        if self._connection.execute(status).scalar_one_or_none() is not record.status:
            raise StaleJobError(f"Sweep {record.id!r} has changed in the meantime.")

    def move(self, record: SweepRecord, target: SweepStatus, message: str, *, now: datetime) -> None:
        """Change the status of a sweep that has not ended. Raise `StaleJobError` when it has changed meanwhile."""
        changed = self._connection.execute(
            update(sweeps)
            .where(sweeps.c.id == record.id, sweeps.c.status == record.status)
            .values(status=target, message=message, finished_at=now if target.has_ended else None)
        )
        if not changed.rowcount:
            raise StaleJobError(f"Sweep {record.id!r} has changed in the meantime.")

    def set_message(self, sweep_id: str, message: str) -> None:
        self._connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(message=message))

    def settle(self, sweep_id: str) -> None:
        """Note that nothing is left to do for a sweep that has ended."""
        self._connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(is_settled=True))

    def delete(self, record: SweepRecord, *, now: datetime) -> None:
        """Delete a sweep and its trials; their jobs stay, and so do its run in MLflow and its idempotency key.

        Raise `ConflictError` (code `sweep_not_ended`) while it works, and `JobBusyError` (code `sweep_not_recorded`)
        while MLflow does not have its end.
        """
        if not record.is_settled:
            raise ConflictError(
                f"Sweep {record.id!r} has not ended, or its jobs are still ending; cancel it first, then delete it.",
                "sweep_not_ended",
            )
        if record.mlflow_status is not record.status:
            raise JobBusyError(
                f"MLflow does not have the whole record of sweep {record.id!r} yet. Try again later; 'ftlab status' "
                "shows whether MLflow answers.",
                "sweep_not_recorded",
            )
        # The place in the list stays known, so that a page after it can still be read. It has no files of its own.
        former = select(sweeps.c.seq).where(sweeps.c.id == record.id)
        seq = self._connection.execute(former).scalar_one()
        values = {"id": record.id, "kind": sweeps.name, "owner": record.owner, "seq": seq}
        values |= {"deleted_at": now, "files_removed_at": now, "idempotency_key": record.idempotency_key}
        self._connection.execute(insert(deleted_records), values)
        self._connection.execute(update(jobs).where(jobs.c.sweep_id == record.id).values(sweep_id=None))
        self._connection.execute(delete(sweep_trials).where(sweep_trials.c.sweep_id == record.id))
        self._connection.execute(delete(sweeps).where(sweeps.c.id == record.id))

    def add_trial(
        self,
        sweep: SweepRecord,
        number: int,
        parameters: Mapping[str, Value],
        *,
        now: datetime,
        job_id: str | None,
        failure: str | None = None,
    ) -> TrialRecord:
        """Add the next trial, in the transaction that adds its job; with `failure`, one that has no job.

        The caller holds the sweep with `lock`. Raise `StaleJobError` where the sweep has this trial already.
        """
        if self.num_trials(sweep.id) != number:
            raise StaleJobError(f"Sweep {sweep.id!r} has trial {number} already.")
        record = TrialRecord(
            sweep_id=sweep.id,
            number=number,
            job_id=job_id,
            parameters=dict(parameters),
            state=TrialState.RUNNING if failure is None else TrialState.FAILED,
            value=None,
            rung_values=(),
            rung=0,
            is_held=False,
            reason=None if failure is None else ReasonCode.CONFIG_INVALID,
            message=failure,
            run_time_s=None if failure is None else 0.0,
            created_at=now.astimezone(UTC),
            finished_at=None if failure is None else now.astimezone(UTC),
        )
        self._connection.execute(insert(sweep_trials), vars(record) | {"rung_values": []})
        return record

    def change_trial(self, trial: TrialRecord, **fields: Unpack[TrialFields]) -> TrialRecord:
        """Change a trial that is still in the state of `trial`. Gives it as it is now.

        Raise `StaleJobError` when its state has changed meanwhile.
        """
        changed = self._connection.execute(
            update(sweep_trials)
            .where(
                sweep_trials.c.sweep_id == trial.sweep_id,
                sweep_trials.c.number == trial.number,
                sweep_trials.c.state == trial.state,
            )
            .values(**fields)
            .returning(*TRIAL_COLUMNS)
        ).one_or_none()
        if changed is None:
            raise StaleJobError(f"Trial {trial.number} of sweep {trial.sweep_id!r} has changed in the meantime.")
        return _to_trial(changed)

    def trials(self, sweep_id: str) -> TrialRecords:
        """All trials, in their order."""
        return self.trials_of([sweep_id])[sweep_id]

    def trials_of(self, sweep_ids: Collection[str]) -> dict[str, TrialRecords]:
        """The trials of several sweeps, in their order."""
        found: dict[str, TrialRecords] = {sweep_id: [] for sweep_id in sweep_ids}
        mine = select(*TRIAL_COLUMNS).where(sweep_trials.c.sweep_id.in_(sweep_ids)).order_by(sweep_trials.c.number)
        for row in self._connection.execute(mine):
            found[row.sweep_id].append(_to_trial(row))
        return found

    def num_at_work(self, owner: str) -> int:
        """Number of the owner's sweeps that have not ended."""
        mine = select(func.count()).select_from(sweeps).where(IS_AT_WORK, sweeps.c.owner == owner)
        return int(self._connection.execute(mine).scalar_one())

    def num_trials(self, sweep_id: str) -> int:
        number = select(func.count()).select_from(sweep_trials).where(sweep_trials.c.sweep_id == sweep_id)
        return int(self._connection.execute(number).scalar_one())

    def _one(self, statement: Select[Any], text: str) -> SweepRecord:
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            raise not_found("sweep", text)
        return _to_sweep(row)


def _to_sweep(row: Any) -> SweepRecord:
    values = dict(zip(SweepRecord.__dataclass_fields__, row, strict=True))
    return SweepRecord(**values | {"whole": tuple(values["whole"]), "rungs": tuple(values["rungs"])})


def _to_trial(row: Any) -> TrialRecord:
    values = dict(zip(TrialRecord.__dataclass_fields__, row, strict=True))
    return TrialRecord(**values | {"rung_values": tuple(values["rung_values"])})
