"""Long-running work for callers that poll: it is done once, in a thread, and all callers see its progress."""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.data.requests import WorkState, WorkStatus
from ftlab.errors import ServiceUnavailableError
from train.failures.classify import classify

ENDED_KEPT_S = 30.0
"""How long the end of a task is remembered; after that the same request starts the work again."""

OnProgress = Callable[[int, int], None]
"""Called with the rows that are done and the rows in all."""
Work = Callable[[OnProgress], dict[str, Any]]
"""Returns the result; an error that it raises becomes a reason and a sentence."""


@dataclass
class _Task:
    state: WorkState
    forget_at: float = math.inf


class TaskTable:
    """The running and recently ended work, by key. Safe to call from any thread; no call waits."""

    def __init__(
        self,
        num_threads: int,
        folder: Path,
        *,
        reported_kept_s: float = ENDED_KEPT_S,
        on_end: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folder` is where the work writes: a failure names the free space of its disk.

        The end of a task is remembered for `reported_kept_s` after it was first reported.
        """
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="ftlab-data")
        self._folder = folder
        self._reported_kept_s = reported_kept_s
        self._on_end = on_end
        self._clock = clock
        self._lock = threading.Lock()
        self._tasks: dict[str, _Task] = {}

    def ask(self, key: str, work: Work) -> WorkState:
        """The state of the work that `key` names; the first call starts it."""
        with self._lock:
            self._forget_old()
            task = self._tasks.get(key)
            if task is None:
                task = self._tasks[key] = _Task(WorkState(WorkStatus.WORKING))
                self._pool.submit(self._run, task, work)
            elif task.state.status is not WorkStatus.WORKING:
                # Only the first report of the end counts: later ones do not put this off.
                task.forget_at = min(task.forget_at, self._clock() + self._reported_kept_s)
            return task.state

    def close(self) -> None:
        """Wait for running work; start nothing more."""
        self._pool.shutdown(cancel_futures=True)

    def _run(self, task: _Task, work: Work) -> None:
        def on_progress(done_rows: int, total_rows: int) -> None:
            task.state = replace(task.state, done_rows=done_rows, total_rows=total_rows)

        try:
            result = work(on_progress)
        except ServiceUnavailableError as error:
            ended = WorkState(WorkStatus.FAILED, message=error.message)
        except BaseException as error:  # an edge: every failure is reported to the callers
            failure = classify(error, self._folder)
            ended = WorkState(
                WorkStatus.FAILED,
                reason=failure.reason,
                message=failure.message,
                cause=failure.cause,
                field=failure.field,
            )
        else:
            ended = replace(task.state, status=WorkStatus.DONE, result=result)
        with self._lock:
            task.state, task.forget_at = ended, self._clock() + ENDED_KEPT_S
        self._on_end()

    def _forget_old(self) -> None:
        now = self._clock()
        for key in [key for key, task in self._tasks.items() if task.forget_at < now]:
            del self._tasks[key]
