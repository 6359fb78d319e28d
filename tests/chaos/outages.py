"""Parts that are away for a while instead of dead: each is a context in which one of them does not answer."""

import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chaos import parts
from tests.support.clocks import wait_for
from tests.support.lab import Lab
from tests.support.postgres import PostgresServer

PART_GONE_S = 10.0


@dataclass(frozen=True)
class Database:
    """The database of a service, and how to take it away."""

    url: str | None
    """`None`: SQLite in the service's home."""
    away: Callable[[Lab], AbstractContextManager[None]]
    longest_s: float
    """How long jobs are promised to bear it."""


@contextmanager
def suspended(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Stopped in the middle of whatever they do; to others they look like processes that hang."""
    assert processes
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def sqlite() -> Database:
    return Database(None, _sqlite_locked, longest_s=10.0)


def postgres(server: PostgresServer) -> Database:
    @contextmanager
    def stopped(_: Lab) -> Iterator[None]:
        server.stop()
        try:
            yield
        finally:
            server.start()

    return Database(server.url(server.create_database()), stopped, longest_s=60.0)


@contextmanager
def _sqlite_locked(lab: Lab) -> Iterator[None]:
    """Another program that writes, and takes its time."""
    with closing(sqlite3.connect(lab.settings.home / "ftlab.db", isolation_level=None, timeout=30)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@contextmanager
def mlflow_down(lab: Lab) -> Iterator[None]:
    """MLflow is dead and cannot come back, because its port is somebody else's, who never answers."""
    with socket.socket() as blocker:
        blocker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        def has_port() -> bool:
            with suppress(OSError):
                blocker.bind(("127.0.0.1", lab.settings.mlflow_port))
            return blocker.getsockname()[1] == lab.settings.mlflow_port

        parts.kill(parts.mlflow(lab, ""))
        wait_for(has_port, PART_GONE_S, "MLflow's port, which its threads hold until the last one has ended")
        blocker.listen(1)  # else another could bind it as well
        yield


@contextmanager
def mlflow_hanging(lab: Lab) -> Iterator[None]:
    with suspended(parts.mlflow(lab, "")):
        yield


def tear(folder: Path) -> None:
    """A checkpoint whose biggest file lost its end, as after a power cut on a disk that lies about its cache."""
    biggest = max((path for path in folder.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)
    os.truncate(biggest, biggest.stat().st_size // 2)


def stop_in_checkpoint_write(lab: Lab, job_id: str, *, timeout_s: float = 60.0) -> psutil.Process:
    """Suspend the job's worker while it writes a checkpoint, and return it."""
    [worker] = parts.worker(lab, job_id)
    folder = lab.settings.home / "jobs" / job_id / "checkpoints"
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if _is_being_written(folder):
            worker.suspend()
            if _is_being_written(folder):
                return worker
            worker.resume()
        time.sleep(0.001)
    raise AssertionError("no checkpoint was caught while it was written")


def _is_being_written(folder: Path) -> bool:
    return any(any(written.iterdir()) for written in folder.glob(".tmp-[0-9]*/checkpoint-*") if written.is_dir())
