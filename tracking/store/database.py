"""Engines and transactions on SQLite and PostgreSQL.

SQLite allows one writer at a time, so its writing engine has one connection: the threads of a process queue for it
instead of polling the file lock. Readers have their own engine and never wait for the writer (WAL).
"""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection

from ftlab.errors import InvalidRequestError, ServiceUnavailableError
from tracking.store.column_types import dump_json

NUM_READERS = 5
NUM_EXTRA_READERS = 35
"""Serve runs blocking calls in up to 40 threads."""

LOG_PAGES, LAZY_LOG_PAGES = 1000, 8000
"""Pages of SQLite's log after which a commit copies them into the database: SQLite's default, and that of the API and
of run drivers, where a request or a live event would wait for it. The coordinator renews its lease all the time, and so
finds a log that has grown."""

POSTGRES_SESSION = {
    "statement_timeout": "30s",
    # A process that hangs in a transaction must not hold its locks forever.
    "idle_in_transaction_session_timeout": "60s",
    # A job is durable before its submit is answered, whatever the server's default.
    "synchronous_commit": "on",
    "timezone": "UTC",
}

POSTGRES_AWAY = frozenset(
    {
        "25006",  # read only: it became a standby, or its disk is full
        "25P03",  # the session was idle in its transaction for too long
        "25P04",  # the transaction took too long
    }
)
"""SQLSTATE codes of temporary conditions that psycopg does not report as operational errors."""
POSTGRES_LACKS = frozenset({"42P01", "42703"})
"""SQLSTATE codes of a table and of a column that does not exist."""
SQLITE_LACKS = re.compile(r"no such (table|column)|table \S+ has no column")
"""Beginning of SQLite's messages of the same."""


class Database:
    """A pair of engines for one URL; `writing()` and `reading()` open a transaction."""

    def __init__(self, writer: Engine, reader: Engine) -> None:
        self._writer = writer
        self._reader = reader

    @classmethod
    def open(cls, url: str, busy_timeout_s: float, log_pages: int = LOG_PAGES) -> "Database":
        parsed = _parse(url)
        if parsed.get_backend_name() == "sqlite":
            return cls(*_sqlite_engines(parsed, busy_timeout_s, log_pages))
        return cls(*_postgres_engines(parsed))

    def writing(self) -> AbstractContextManager[Connection]:
        return _transaction(self._writer)

    def reading(self) -> AbstractContextManager[Connection]:
        return _transaction(self._reader)

    def close(self) -> None:
        self._reader.dispose()
        self._writer.dispose()


def insert_into(connection: Connection, table: Table) -> Any:
    """An INSERT that supports `on_conflict_do_update` and `excluded` on both databases."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def once_per_dialect(make: Callable[[Connection], Any]) -> Callable[[Connection], Any]:
    """Keep the statement that `make` builds, for each kind of database: to build one can take longer than to execute
    it.
    """
    made: dict[str, Any] = {}

    @wraps(make)
    def find(connection: Connection) -> Any:
        known = made.get(connection.dialect.name)
        if known is None:
            known = made[connection.dialect.name] = make(connection)
        return known

    return find


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    """Commit at the end, roll back on an exception, and translate lock and connection errors."""
    try:
        with engine.begin() as connection:
            yield connection
    except (DBAPIError, PoolTimeoutError) as error:
        if isinstance(error, DBAPIError) and _lacks_tables(error):
            raise ServiceUnavailableError(
                "The tables of the database are those of another version of the service. Restart the service, which "
                "upgrades them.",
                "database_outdated",
            ) from error
        if isinstance(error, DBAPIError) and not _is_away(error):
            raise
        raise ServiceUnavailableError("The database does not answer at the moment. Try again shortly.") from error


def _lacks_tables(error: DBAPIError) -> bool:
    """Whether the database has no such table or column, because it has not been upgraded yet."""
    is_sqlite = isinstance(error, OperationalError) and SQLITE_LACKS.match(str(error.orig)) is not None
    return is_sqlite or getattr(error.orig, "sqlstate", None) in POSTGRES_LACKS


def _is_away(error: DBAPIError) -> bool:
    """Whether the same statement may succeed later."""
    is_lost = isinstance(error, OperationalError) or error.connection_invalidated
    return is_lost or getattr(error.orig, "sqlstate", None) in POSTGRES_AWAY


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidRequestError("The database URL cannot be read.", "invalid_setting", "database_url") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite+pysqlite")
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise InvalidRequestError(
        "The database URL must be sqlite:///<file> or postgresql://<host>/<database>.",
        "invalid_setting",
        "database_url",
    )


def _sqlite_engines(url: URL, busy_timeout_s: float, log_pages: int) -> tuple[Engine, Engine]:
    file = Path(str(url.database))
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        # It has the secrets of channels. SQLite gives the files beside it the same mode.
        file.touch(mode=0o600)
    writer = create_engine(url, json_serializer=dump_json, pool_size=1, max_overflow=0, pool_timeout=busy_timeout_s)
    reader = create_engine(
        url,
        json_serializer=dump_json,
        pool_size=NUM_READERS,
        max_overflow=NUM_EXTRA_READERS,
        pool_timeout=busy_timeout_s,
    )
    event.listen(writer, "connect", _sqlite_setup(busy_timeout_s, log_pages, query_only=False))
    event.listen(reader, "connect", _sqlite_setup(busy_timeout_s, log_pages, query_only=True))
    _begin_with(writer, "BEGIN IMMEDIATE")
    _begin_with(reader, "BEGIN")
    return writer, reader


def _begin_with(engine: Engine, statement: str) -> None:
    """Begin each transaction of an engine with this statement.

    With a listener instead, SQLAlchemy would look for listeners before and after each statement too.
    """

    def begin(dbapi_connection: PoolProxiedConnection) -> None:
        dbapi_connection.cursor().execute(statement)

    engine.dialect.do_begin = begin  # type: ignore[method-assign]


def _sqlite_setup(
    busy_timeout_s: float, log_pages: int, *, query_only: bool
) -> Callable[[sqlite3.Connection, Any], None]:
    def set_up(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver must not begin transactions itself; `_begin_with` does.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={int(busy_timeout_s * 1000)}")
        _use_write_ahead_log(connection, busy_timeout_s)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={log_pages}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA query_only={'ON' if query_only else 'OFF'}")

    return set_up


def _use_write_ahead_log(connection: sqlite3.Connection, patience_s: float) -> None:
    """Switch to WAL. When two processes switch a new file at the same time, SQLite fails at once in one of them instead
    of waiting; that one retries."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _postgres_engines(url: URL) -> tuple[Engine, Engine]:
    options = " ".join(f"-c {name}={value}" for name, value in POSTGRES_SESSION.items())
    writer = create_engine(
        url,
        json_serializer=dump_json,
        pool_pre_ping=True,
        pool_size=NUM_READERS,
        max_overflow=NUM_EXTRA_READERS,
        pool_timeout=10,
        connect_args={"connect_timeout": 10, "options": options},
    )
    reader = writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return writer, reader
