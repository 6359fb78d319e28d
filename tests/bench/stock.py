"""Jobs by the thousand, put straight into a store: what a service has after months of use."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, insert

from ftlab.schemas import EventKind, JobConfig
from ftlab.schemas.accounts import LOCAL_USER
from ftlab.settings import DEFAULT_BUCKET
from ftlab.status import JobStatus, ReasonCode
from tracking.store import Store
from tracking.store.column_types import dump_json
from tracking.store.events import event_logs
from tracking.store.ids import new_id
from tracking.store.jobs import NEW_JOB
from tracking.store.records import DatasetRecord
from tracking.store.rows import attempts, events, idempotency_keys, jobs

DATASET_ID = "ds-bench"
LIFE = (
    JobStatus.QUEUED,
    JobStatus.PENDING,
    JobStatus.INITIALIZING,
    JobStatus.RUNNING,
    JobStatus.COMPLETED,
)
CHUNK = 2000


@dataclass(frozen=True)
class Stock:
    """A store with many jobs: `ids` of all of them in submit order, the queued ones last."""

    store: Store
    ids: Sequence[str]


def open_stock(file: Path, *, num_jobs: int, num_queued: int) -> Stock:
    """Make a SQLite store with so many jobs; those that are not queued have ended."""
    store = Store.open(f"sqlite:///{file}")
    store.migrate()
    with store.begin() as tx:
        tx.datasets.add(_dataset())
    ids = [new_id("job") for _ in range(num_jobs)]
    _fill(file, ids, num_jobs - num_queued)
    return Stock(store, ids)


def add_queued(store: Store, config: JobConfig, count: int) -> list[str]:
    """Submit so many jobs in one transaction; return their ids in order."""
    now = datetime.now(UTC)
    ids = [new_id("job") for _ in range(count)]
    with store.begin() as tx:
        for job_id in ids:
            tx.jobs.add(job_id, owner=LOCAL_USER, name="a queued job", config=config, now=now)
    return ids


def noop_config(**changes: Any) -> JobConfig:
    """A job that a store accepts; its model is looked for only by a run that really starts."""
    return JobConfig.model_validate({"model": "org/name", "dataset": DATASET_ID} | changes)


def _fill(file: Path, ids: Sequence[str], num_ended: int) -> None:
    """Write all rows, and wait for the disk only once: the first durable commit would wait for all of it otherwise."""
    engine = create_engine(f"sqlite:///{file}", json_serializer=dump_json)
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    config, began = noop_config(), datetime.now(UTC) - timedelta(days=100)
    numbered = iter(enumerate(ids))
    while chunk := list(islice(numbered, CHUNK)):
        with engine.begin() as connection:
            _write(connection, [_Row(number, job_id, number < num_ended, config, began) for number, job_id in chunk])
    with engine.begin() as connection:
        log = {"owner": LOCAL_USER, "last_position": len(ids) * len(LIFE)}
        connection.execute(insert(event_logs), log)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


@dataclass(frozen=True)
class _Row:
    """One job, as the tables have it."""

    number: int
    """Its place in the order of submission, from 0."""
    id: str
    has_ended: bool
    config: JobConfig
    at: datetime

    @property
    def life(self) -> Sequence[JobStatus]:
        return LIFE if self.has_ended else LIFE[:1]

    def job(self) -> dict[str, Any]:
        values = NEW_JOB | {
            "id": self.id,
            "owner": LOCAL_USER,
            "name": f"a job {self.id[-4:]}",
            "config": self.config.model_dump(mode="json"),
            "resolved_config": self.config.resolved(),
            "dataset_id": DATASET_ID,
            "eval_dataset_id": None,
            "priority": self.config.priority,
            "live_attempt": None,
            "status": self.life[-1],
            "message": self.life[-1].sentence,
            "attempt": int(self.has_ended),
            "last_seq": len(self.life),
            "notified_seq": len(self.life),
            "mlflow_seq": len(self.life),
            "created_at": self.at,
            "updated_at": self.at,
        }
        if self.has_ended:
            values |= {"reason": ReasonCode.OK, "started_at": self.at, "finished_at": self.at, "step": 100}
        return values

    def events(self) -> Iterator[dict[str, Any]]:
        for seq, status in enumerate(self.life, start=1):
            data = {"status": status.value, "message": status.sentence, "reason": None}
            attempt = int(status is not JobStatus.QUEUED)
            yield {
                "job_id": self.id,
                "seq": seq,
                "attempt": attempt,
                "at": self.at,
                "kind": EventKind.STATUS,
                "data": data,
                "owner": LOCAL_USER,
                "position": self.number * len(LIFE) + seq,
            }

    def attempt(self) -> dict[str, Any]:
        return {
            "job_id": self.id,
            "number": 1,
            "driver": f"run-{self.id}-1",
            "cpus": 1,
            "gpus": 0.0,
            "gpu_types": {},
            "placement_groups": [],
            "placement": [],
            "pids": [],
            "process_devices": [],
            "created_at": self.at,
            "heartbeat_at": self.at,
            "ended_at": self.at,
            "reason": ReasonCode.OK,
            "message": "The job is finished.",
        }

    def key(self) -> dict[str, Any]:
        return {"owner": LOCAL_USER, "key": f"key-{self.id}", "body_sha256": "0" * 64, "job_id": self.id}


def _write(connection: Connection, rows: Sequence[_Row]) -> None:
    connection.execute(insert(jobs), [row.job() for row in rows])
    connection.execute(insert(events), [told for row in rows for told in row.events()])
    connection.execute(insert(idempotency_keys), [row.key() for row in rows])
    if ended := [row.attempt() for row in rows if row.has_ended]:
        connection.execute(insert(attempts), ended)


def _dataset() -> DatasetRecord:
    return DatasetRecord(
        id=DATASET_ID,
        owner=LOCAL_USER,
        name="rows.jsonl",
        bucket=DEFAULT_BUCKET,
        format="jsonl",
        shape="messages",
        num_rows=10,
        size_bytes=1000,
        sha256="a" * 64,
        kind="messages",
        canonical=f"canonical/{'a' * 64}-{'b' * 12}.arrow",
        created_at=datetime.now(UTC),
    )
