"""Migrated, empty databases for tests that run on SQLite and on PostgreSQL; a conftest names the fixtures it uses."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url

from tests.postgres import PostgresServer
from tracking.store import Store
from tracking.store.rows import metadata


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file; copying it is faster than migrating again."""
    file = tmp_path_factory.mktemp("template") / "ftlab.db"
    _migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def postgres_database(postgres: PostgresServer) -> Iterator[Engine]:
    """A migrated database for one test after the other: making one for each would cost most of the time."""
    url = postgres.url(postgres.create_database())
    _migrate(url)
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'ftlab.db')}"


@pytest.fixture
def postgres_url(postgres_database: Engine) -> Iterator[str]:
    yield postgres_database.url.render_as_string(hide_password=False)
    with postgres_database.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, empty database of this test's own."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(name))


def _migrate(url: str) -> None:
    store = Store.open(url)
    store.migrate()
    store.close()
