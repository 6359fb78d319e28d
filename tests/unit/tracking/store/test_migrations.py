"""What the migrations make is what `rows.py` says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from ftlab.status import ReasonCode
from tests.support.postgres import PostgresServer
from tests.unit.tracking.samples import NOW, add_job, at_once, get_job
from tracking.store import Store
from tracking.store.migrate import alembic_config
from tracking.store.records import JobRef
from tracking.store.rows import metadata

DEFINITIONS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name != 'alembic_version'",
    "postgresql": """
        SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename != 'alembic_version'
        UNION ALL
        SELECT table_name || '.' || column_name, concat_ws(' ', ordinal_position, data_type, is_nullable)
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name != 'alembic_version'
        UNION ALL
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text != 'alembic_version'
    """,
}

OLD_JOB = """
    INSERT INTO jobs (id, owner, name, config, dataset_id, status, message, priority, attempt, live_attempt,
        retries_used, step, last_seq, mlflow_seq, created_at, updated_at)
    VALUES (:id, 'local', 'old', '{}', 'ds-1', 'queued', 'It waits.', :priority, 1, :live_attempt, 0, 0, 1, 0,
        '2026-03-01 12:00:00', '2026-03-01 12:00:00')
"""
OLD_ATTEMPT = """
    INSERT INTO attempts (job_id, number, driver, cpus, gpus, placement_groups, pids, created_at, heartbeat_at)
    VALUES ('job-a', 1, 'run-1', 4, 2, '["ab"]', '[]', '2026-03-01 12:00:00', '2026-03-01 12:00:00')
"""
OLD_ENDED_ATTEMPT = """
    INSERT INTO attempts (job_id, number, driver, cpus, gpus, placement_groups, pids, created_at, heartbeat_at,
        ended_at, reason)
    VALUES ('job-b', 1, 'run-2', 4, 2, '[]', '[]', '2026-03-01 12:00:00', '2026-03-01 12:00:00',
        '2026-03-01 12:00:09', 'ok')
"""
OLD_CHECKPOINT = """
    INSERT INTO checkpoints (job_id, step, attempt, name, size_bytes, manifest_sha256, created_at, metrics, is_best)
    VALUES ('job-a', :step, 1, 'step', :size_bytes, 'f', '2026-03-01 12:00:00', '{}', false)
"""

OLD_DATASET = """
    INSERT INTO datasets (id, owner, name, bucket, format, shape, num_rows, size_bytes, sha256, created_at)
    VALUES ('ds-1', 'local', 'rows', 'training-files', 'jsonl', 'sharegpt', 3, 5000000000, 'a', '2026-03-01 12:00:00')
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_urls(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Two databases without tables."""
    if request.param == "sqlite":
        return [f"sqlite:///{tmp_path / name}.db" for name in "ab"]
    server: PostgresServer = request.getfixturevalue("postgres")
    return [server.url(server.create_database()) for _ in "ab"]


@pytest.fixture
def empty_store(empty_urls: list[str]) -> Iterator[Store]:
    opened = Store.open(empty_urls[0])
    yield opened
    opened.close()


def test_alembic_finds_no_difference(store: Store) -> None:
    with store._database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_definitions_are_equal_to_the_letter(empty_urls: list[str], empty_store: Store) -> None:
    """Alembic compares neither the conditions of partial indexes nor SQLite's table options."""
    empty_store.migrate()
    other = Store.open(empty_urls[1])
    with other._database.writing() as connection:
        metadata.create_all(connection)
    with empty_store._database.reading() as migrated, other._database.reading() as created:
        assert _definitions(migrated) == _definitions(created)
    other.close()


def test_migrate_again_changes_nothing(empty_store: Store) -> None:
    empty_store.migrate()
    job = add_job(empty_store)
    empty_store.migrate()
    assert get_job(empty_store, job.id) == job


def test_several_services_migrate_at_once(empty_urls: list[str]) -> None:
    def migrate(_number: int) -> str:
        store = Store.open(empty_urls[0])
        store.migrate()
        job = add_job(store)
        store.close()
        return job.id

    assert all(isinstance(result, str) for result in at_once(4, migrate))


def test_failed_migration_leaves_nothing_behind(empty_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def create_and_fail(config: Config, revision: str) -> None:
        upgrade(config, revision)
        raise LookupError

    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", create_and_fail)
    with pytest.raises(LookupError):
        empty_store.migrate()
    with empty_store._database.reading() as connection:
        assert inspect(connection).get_table_names() == []


def test_downgrade_removes_every_table(empty_store: Store) -> None:
    empty_store.migrate()
    with empty_store._database.writing() as connection:
        command.downgrade(alembic_config(connection), "base")
    with empty_store._database.reading() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    empty_store.migrate()
    add_job(empty_store)


def test_upgrade_keeps_and_completes_what_is_there(empty_store: Store) -> None:
    """From the first tables: a queue, an attempt on GPUs, checkpoints."""
    with empty_store._database.writing() as connection:
        command.upgrade(alembic_config(connection), "0001")
        for job_id, priority, live_attempt in (("job-a", 0, 1), ("job-b", 7, None), ("job-c", 0, None)):
            connection.execute(text(OLD_JOB), {"id": job_id, "priority": priority, "live_attempt": live_attempt})
        connection.execute(text(OLD_ATTEMPT))
        connection.execute(text(OLD_DATASET))
        connection.execute(text(OLD_ENDED_ATTEMPT))
        for step, size_bytes in ((10, 300), (20, 3_000_000_000)):
            connection.execute(text(OLD_CHECKPOINT), {"step": step, "size_bytes": size_bytes})
    empty_store.migrate()
    with empty_store.begin() as tx:
        assert [(job.id, job.priority) for job in tx.jobs.queued()] == [("job-a", 50), ("job-c", 50), ("job-b", 7)]
        job = tx.jobs.get("job-a")
        assert (job.queue_shift, job.paused_at, job.stop_kind, job.resume_from, job.waiting_for) == (0, *[None] * 4)
        assert (job.data_findings, job.has_new_files) == (None, False)
        (attempt,) = tx.attempts.live()
        assert (attempt.gpus, attempt.placement_groups, attempt.placement) == (2.0, ("ab",), ())
        assert tx.usage.disk_bytes("local") == 8_000_000_300
        assert tx.attempts.uncounted() == [], "what ended before was counted, or is forgiven"
        dataset = tx.datasets.get("ds-1")
        assert (dataset.kind, dataset.canonical, dataset.num_skipped) == ("messages", "", 0)
        assert (dataset.column_mapping, dataset.confidence, dataset.size_bytes) == (None, 1.0, 5_000_000_000)
        assert tx.datasets.without_canonical() == [dataset]
        tx.attempts.end(JobRef("job-a", 1), reason=ReasonCode.OK, message=None, now=NOW)
        assert [attempt.job_id for attempt in tx.attempts.unreleased()] == ["job-a"]
    later_job = add_job(empty_store)
    with empty_store.read() as tx:
        assert tx.jobs.queue_position(later_job.id) == 3
    with empty_store._database.writing() as connection:
        command.downgrade(alembic_config(connection), "0001")
        assert connection.execute(text("SELECT gpus, reason FROM attempts")).all() == [(2, "ok"), (2, "ok")]
    empty_store.migrate()
    assert get_job(empty_store, later_job.id).name == later_job.name


def _definitions(connection: Connection) -> dict[str, str]:
    rows = connection.execute(text(DEFINITIONS[connection.dialect.name])).all()
    assert len(rows) > 10
    # SQLite puts quotes around the name of a table that was built anew, whose constraints come in any order.
    return {name: _in_order(" ".join(str(definition).replace('"', "").split())) for name, definition in rows}


def _in_order(definition: str) -> tuple[str, ...]:
    columns, *constraints = (part.strip(" ,)") for part in definition.split("CONSTRAINT "))
    return columns, *sorted(constraints)
