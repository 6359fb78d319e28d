"""Migrated, empty databases for tests that run on SQLite and on PostgreSQL; a conftest names the fixtures it uses."""

import json
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from tests.support.postgres import PostgresServer
from tracking.store import Store
from tracking.store.rows import metadata

_EMPTY_ALL = "DO $$ BEGIN {} END $$".format(
    " ".join(f"DELETE FROM {table.name};" for table in reversed(metadata.sorted_tables))
)
"""One statement, because a round trip for each table takes longer than emptying them."""


def make_database(file: Path) -> Path:
    """Put a migrated, empty SQLite database there: copying it is faster than migrating again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_migrated())
    return file


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ftlab.db"
        _migrate(f"sqlite:///{file}")
        return file.read_bytes()


@pytest.fixture(scope="session")
def postgres_database(postgres: PostgresServer) -> Iterator[Engine]:
    """A migrated database for one test after the other: making one for each would cost most of the time."""
    url = postgres.url(postgres.create_database())
    _migrate(url)
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{make_database(tmp_path / 'ftlab.db')}"


@pytest.fixture
def postgres_url(postgres_database: Engine) -> Iterator[str]:
    yield postgres_database.url.render_as_string(hide_password=False)
    with postgres_database.begin() as connection:
        connection.exec_driver_sql(_EMPTY_ALL)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, empty database of this test's own."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(name))


def change_config(store: Store, job_id: str, **fields: Any) -> None:
    """Change a job's config in the database to one that another version of the service may have written."""
    with store.begin() as tx:
        document = tx.jobs.get(job_id).submitted_config | fields
        change = text("UPDATE jobs SET resolved_config = :document WHERE id = :id")
        tx.jobs._connection.execute(change, {"document": json.dumps(document), "id": job_id})


def _migrate(url: str) -> None:
    store = Store.open(url)
    store.migrate()
    store.close()
