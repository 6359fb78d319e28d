"""One service per home: the lock that its supervisor holds, and the cleanup after a killed service.

Everything that the supervisor starts carries a mark in its environment, which its own children inherit. So a process of
an earlier service is recognised whatever its parent is by now, and no other process is mistaken for one. Run `python -m
cluster.machine.orphans` to end the processes that a killed supervisor left behind.
"""

import fcntl
import logging
import sys
from pathlib import Path
from types import TracebackType
from typing import TextIO

import psutil

from cluster.machine.processes import end_processes
from ftlab.cli.service_file import read_state, state_file
from ftlab.errors import FineTuneLabError, InvalidRequestError
from ftlab.settings import Settings, load_settings
from train.checkpoints import checkpoint_files

MARK = "FTLAB_PART_OF"
"""Environment variable of every part of a service: the service's home folder."""

logger = logging.getLogger(__name__)


class LifeLock:
    """Held by the one supervisor of a home for as long as it lives; the kernel releases it when the process ends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stream: TextIO | None = None

    def __enter__(self) -> None:
        """Raises `InvalidRequestError` when the service runs."""
        file = self._settings.home / "run" / "supervisor.lock"
        file.parent.mkdir(parents=True, exist_ok=True)
        self._stream = file.open("w", encoding="utf-8")
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            state = read_state(self._settings)
            raise InvalidRequestError(
                f"FineTune Lab is already running with {self._settings.home}"
                f"{f' (process {state.pid})' if state else ''}. Stop it with `ftlab down`.",
                "already_running",
            ) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()


def mark(settings: Settings) -> dict[str, str]:
    """The environment variable that marks the parts of this service."""
    return {MARK: str(settings.home)}


def end_leftovers(settings: Settings) -> int:
    """End every process that belongs to a service of this home; return how many there were.

    The caller holds the `LifeLock` of the home: without it the service may be alive.
    """
    own = psutil.Process()
    spared = {own.pid, *(parent.pid for parent in own.parents())}
    left = [process for process in psutil.process_iter() if process.pid not in spared and _is_part(process, settings)]
    end_processes(left)
    return len(left)


def sweep_unfinished(settings: Settings) -> None:
    """Remove the folders of jobs that were being written when the service died, and undo incomplete changes."""
    for folder in (settings.home / "jobs").glob("*"):
        sweep_job(folder)


def sweep_job(job_folder: Path) -> None:
    """Sweep the folder of one job that has no live attempt."""
    for folder in (job_folder, job_folder / "checkpoints"):
        try:
            checkpoint_files.sweep(folder)
        except OSError as error:
            # What cannot be removed only takes space; the job's next attempt tries again.
            logger.warning("Could not clean up %s: %s", folder, error)


def _is_part(process: psutil.Process, settings: Settings) -> bool:
    try:
        return process.environ().get(MARK) == str(settings.home)
    except (psutil.Error, OSError):
        return False  # it has ended, or belongs to another user


def main() -> int:
    settings = load_settings()
    try:
        with LifeLock(settings):
            count = end_leftovers(settings)
            state_file(settings).unlink(missing_ok=True)
    except FineTuneLabError as error:
        print(error.message, file=sys.stderr)
        return 1
    print(f"Ended {count} processes that a killed service had left behind.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
