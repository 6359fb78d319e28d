"""What the migrations make is what `rows.py` says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from ftlab.errors import ServiceUnavailableError
from tests.support.postgres import PostgresServer
from tests.unit.tracking.samples import add_job, at_once, get_job
from tracking.store import Store
from tracking.store.migrate import alembic_config
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


def test_the_key_of_a_deleted_sweep_stays_taken(empty_store: Store) -> None:
    empty_store.migrate()
    with empty_store._database.writing() as connection:
        command.downgrade(alembic_config(connection), "0013")
        connection.execute(
            text(
                "INSERT INTO deleted_records (id, kind, owner, seq, deleted_at) "
                "VALUES ('sweep-1', 'sweeps', 'local', 1, '2026-03-01 12:00:00'), "
                "('sweep-2', 'sweeps', 'local', 2, '2026-03-01 12:00:00')"
            )
        )
        keys = [
            {"key": "\tk", "job_id": "sweep-1"},
            {"key": "k", "job_id": "job-1"},
            {"key": "k\t1", "job_id": "job-2"},
        ]
        insert = "INSERT INTO idempotency_keys (owner, key, job_id, body_sha256) VALUES ('local', :key, :job_id, 'abc')"
        connection.execute(text(insert), keys)
    empty_store.migrate()
    with empty_store.read() as tx:
        assert tx.sweeps.deleted_of_key("local", "k") == "sweep-1"
        assert tx.sweeps.deleted_of_key("bob", "k") is None
        found = [tx.jobs.find_idempotent("local", each["key"]) for each in keys]
    assert found == [None, ("job-1", "abc"), ("job-2", "abc")]


def test_downgrade_removes_every_table(empty_store: Store) -> None:
    empty_store.migrate()
    with empty_store._database.writing() as connection:
        command.downgrade(alembic_config(connection), "base")
    with empty_store._database.reading() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    empty_store.migrate()
    add_job(empty_store)


@pytest.mark.parametrize("revision", ["base", "0011"])
def test_a_process_on_older_tables_says_so(empty_store: Store, revision: str) -> None:
    empty_store.migrate()
    with empty_store._database.writing() as connection:
        command.downgrade(alembic_config(connection), revision)
    for use in (lambda tx: tx.sweeps.at_work(), lambda tx: tx.deletions.with_files()):
        with pytest.raises(ServiceUnavailableError, match="another version") as caught, empty_store.read() as tx:
            use(tx)
        assert caught.value.code == "database_outdated"


def _definitions(connection: Connection) -> dict[str, str]:
    rows = connection.execute(text(DEFINITIONS[connection.dialect.name])).all()
    assert len(rows) > 10
    return {name: _definition(str(definition)) for name, definition in rows}


def _definition(text: str) -> str:
    """A definition on one line. That of a table is sorted: SQLite adds new columns after the constraints."""
    text = " ".join(text.split())
    if not text.startswith("CREATE TABLE"):
        return text
    head, _, columns = text.removesuffix(")").partition(" (")
    return f"{head} {sorted(re.split(r', (?![^(]*[)])', columns))}"
