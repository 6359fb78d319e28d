"""Transactions, locks, durability, outages."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread, Timer
from time import monotonic, sleep

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, InternalError

from ftlab.errors import InvalidRequestError, ServiceUnavailableError
from ftlab.status import JobStatus
from tests.support.postgres import PostgresServer
from tests.unit.tracking.samples import NOW, add_job, at_once, claim, get_job, log_event
from tracking.store import Store
from tracking.store.database import LOG_PAGES

ROOT = Path(__file__).parents[4]


@pytest.fixture
def hasty_store(sqlite_url: str) -> Iterator[Store]:
    """A SQLite store that gives up on a lock after 50 ms."""
    opened = Store.open(sqlite_url, busy_timeout_s=0.05)
    yield opened
    opened.close()


@pytest.fixture
def other_process(sqlite_url: str) -> Iterator[sqlite3.Connection]:
    """A connection of its own, as another process would have."""
    connection = sqlite3.connect(
        sqlite_url.removeprefix("sqlite:///"), timeout=0, isolation_level=None, check_same_thread=False
    )
    yield connection
    connection.close()


class TestTransactions:
    def test_exception_undoes_everything(self, store: Store) -> None:
        job = add_job(store)

        def fail() -> None:
            with store.begin() as tx:
                tx.jobs.move(job.ref, JobStatus.FAILED, now=NOW)
                raise LookupError

        with pytest.raises(LookupError):
            fail()
        assert get_job(store, job.id) == job

    def test_commit_is_seen_by_other_stores(self, store: Store, store_url: str) -> None:
        job = add_job(store)
        other = Store.open(store_url)
        assert get_job(other, job.id) == job
        other.close()

    def test_read_is_a_snapshot(self, store: Store) -> None:
        job = add_job(store)
        with store.read() as tx:
            assert tx.jobs.get(job.id) == job
            claim(store, job.id)
            assert tx.jobs.get(job.id) == job
            assert tx.jobs.live() == []
        assert get_job(store, job.id).status is JobStatus.PENDING

    def test_read_cannot_write(self, store: Store) -> None:
        job = add_job(store)
        with pytest.raises(Exception, match=r"read-only|does not answer"), store.read() as tx:
            tx.events.append(job.ref, [log_event("no")])
        assert get_job(store, job.id) == job

    def test_many_threads(self, store: Store) -> None:
        def work(_number: int) -> None:
            for _ in range(5):
                job = add_job(store)
                assert get_job(store, job.id) == job

        assert at_once(30, work) == [None] * 30


class TestSqlite:
    def test_commits_are_durable(self, synced_commits: None, hasty_store: Store) -> None:
        for transaction in (hasty_store._database.writing(), hasty_store._database.reading()):
            with transaction as connection:
                assert _pragma(connection, "journal_mode") == "wal"
                assert _pragma(connection, "synchronous") == 2  # FULL: the log is synced at each commit
                assert _pragma(connection, "foreign_keys") == 1
                assert _pragma(connection, "busy_timeout") == 50

    def test_default_patience(self, sqlite_url: str) -> None:
        store = Store.open(sqlite_url)
        with store._database.writing() as connection:
            assert _pragma(connection, "busy_timeout") == 10_000
        store.close()

    def test_whoever_answers_no_requests_copies_the_log(self, sqlite_url: str) -> None:
        api, coordinator = Store.open(sqlite_url, is_waited_for=True), Store.open(sqlite_url)
        log = Path(sqlite_url.removeprefix("sqlite:///") + "-wal")
        rows = [{"note": "x" * 4000}] * 300

        def write(store: Store) -> None:
            with store._database.writing() as connection:
                connection.execute(text("CREATE TABLE IF NOT EXISTS notes (note TEXT)"))
                connection.execute(text("INSERT INTO notes VALUES (:note)"), rows)

        for _ in range(5):
            write(api)
        grown = log.stat().st_size
        assert grown > LOG_PAGES * 4096
        write(coordinator)
        for _ in range(3):  # the log is used again from its start
            write(api)
        assert log.stat().st_size < 1.3 * grown
        api.close()
        coordinator.close()

    def test_write_transaction_locks_at_once(self, hasty_store: Store, other_process: sqlite3.Connection) -> None:
        with hasty_store.begin(), pytest.raises(sqlite3.OperationalError, match="locked"):
            other_process.execute("BEGIN IMMEDIATE")
        other_process.execute("BEGIN IMMEDIATE")

    def test_locked_database_is_unavailable(self, hasty_store: Store, other_process: sqlite3.Connection) -> None:
        other_process.execute("BEGIN IMMEDIATE")
        with pytest.raises(ServiceUnavailableError) as caught:
            add_job(hasty_store)
        assert (caught.value.status, caught.value.code) == (503, "service_unavailable")
        with hasty_store.read() as tx:
            assert tx.jobs.list() == []
        other_process.execute("ROLLBACK")
        add_job(hasty_store)

    def test_busy_writer_of_the_same_process_is_unavailable(self, hasty_store: Store) -> None:
        locked, finish = Event(), Event()

        def hold() -> None:
            with hasty_store.begin():
                locked.set()
                finish.wait()

        holder = Thread(target=hold)
        holder.start()
        locked.wait()
        with pytest.raises(ServiceUnavailableError):
            add_job(hasty_store)
        finish.set()
        holder.join()
        add_job(hasty_store)

    def test_new_file_held_by_another_process(self, tmp_path: Path) -> None:
        """Switching a new file to the write-ahead log needs it alone; a busy one is tried until patience ends."""
        file = tmp_path / "ftlab.db"
        reader = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        reader.execute("CREATE TABLE other (value)")
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM other").fetchall()
        hasty, patient = (Store.open(f"sqlite:///{file}", busy_timeout_s=patience_s) for patience_s in (0.05, 10))
        with pytest.raises(ServiceUnavailableError):
            hasty.migrate()
        Timer(0.2, reader.execute, ["COMMIT"]).start()
        patient.migrate()
        reader.close()
        for store in (hasty, patient):
            add_job(store)
            store.close()

    def test_many_processes_share_a_file(self, tmp_path: Path) -> None:
        """They also create and migrate it at the same time."""
        url = f"sqlite:///{tmp_path / 'new' / 'ftlab.db'}"
        script = (
            "import sys; from tests.unit.tracking.samples import add_job; from tracking.store import Store\n"
            "store = Store.open(sys.argv[1]); store.migrate(); [add_job(store) for _ in range(50)]"
        )
        processes = [
            subprocess.Popen([sys.executable, "-c", script, url], cwd=ROOT, stderr=subprocess.PIPE) for _ in range(3)
        ]
        errors = [process.communicate()[1].decode() for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0], errors
        store = Store.open(url)
        with store.read() as tx:
            assert len(tx.jobs.queued()) == 150
        store.close()


class TestPostgres:
    @pytest.fixture
    def store(self, postgres_url: str) -> Iterator[Store]:
        opened = Store.open(postgres_url)
        yield opened
        opened.close()

    def test_session_settings(self, store: Store) -> None:
        with store._database.writing() as connection:
            assert connection.dialect.driver == "psycopg"
            assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "30s"
            assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
        with store._database.reading() as connection:
            assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == "repeatable read"
            assert connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on"

    def test_outage_is_unavailable_and_passes(self, store: Store, postgres: PostgresServer) -> None:
        job = add_job(store)
        postgres.stop()
        try:
            for transaction in (store.begin, store.read):
                with pytest.raises(ServiceUnavailableError), transaction() as tx:
                    tx.jobs.get(job.id)
        finally:
            postgres.start()
        assert get_job(store, job.id) == job

    def test_read_only_is_unavailable_and_passes(self, store: Store, postgres: PostgresServer) -> None:
        """So is a server whose disk is full, or that has become a standby."""
        job = add_job(store)
        _set_read_only(postgres, "on")
        try:
            with pytest.raises(ServiceUnavailableError), store.begin() as tx:
                tx.events.append(job.ref, [log_event("no")])
        finally:
            _set_read_only(postgres, "off")
        with store.begin() as tx:
            tx.events.append(job.ref, [log_event("yes")])

    def test_transaction_that_idled_too_long_is_unavailable(self, store: Store) -> None:
        def idle() -> None:
            with store._database.writing() as connection:
                connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '10ms'"))
                sleep(0.3)
                connection.execute(text("SELECT 1"))

        with pytest.raises(ServiceUnavailableError):
            idle()

    def test_outage_within_a_transaction(self, store: Store, postgres: PostgresServer) -> None:
        job = add_job(store)

        def break_off() -> None:
            with store.begin() as tx:
                tx.jobs.get(job.id)
                postgres.stop()
                postgres.start()
                tx.events.append(job.ref, [log_event("lost")])

        with pytest.raises(ServiceUnavailableError):
            break_off()
        assert get_job(store, job.id) == job


@pytest.mark.parametrize(
    "error",
    [
        InternalError("", {}, psycopg.errors.ReadOnlySqlTransaction()),
        InternalError("", {}, psycopg.errors.IdleInTransactionSessionTimeout()),
        InternalError("", {}, psycopg.errors.lookup("25P04")()),
        DBAPIError("", {}, psycopg.InterfaceError(), connection_invalidated=True),
    ],
    ids=["read only", "idle", "too long", "connection lost"],
)
def test_what_passes_is_unavailable(hasty_store: Store, error: DBAPIError) -> None:
    with pytest.raises(ServiceUnavailableError), hasty_store.begin():
        raise error


def test_what_is_our_mistake_is_not_unavailable(hasty_store: Store) -> None:
    mistake = InternalError("", {}, psycopg.errors.NoActiveSqlTransaction())
    with pytest.raises(InternalError), hasty_store.begin():
        raise mistake


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://u:canary@h/d", "ftp://canary@x"]
)
def test_url_is_checked(url: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Store.open(url)
    assert (caught.value.code, caught.value.param) == ("invalid_setting", "database_url")
    assert "canary" not in str(caught.value)


def _set_read_only(postgres: PostgresServer, value: str) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}".encode())
        connection.execute("SELECT pg_reload_conf()")
    deadline = monotonic() + 10
    while True:
        with psycopg.connect(postgres.url()) as connection:
            row = connection.execute("SHOW default_transaction_read_only").fetchone()
        if row == (value,):
            return
        assert monotonic() < deadline
        sleep(0.01)


def _pragma(connection: Connection, name: str) -> object:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
