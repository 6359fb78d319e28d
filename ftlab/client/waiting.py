"""The pauses, the deadline and the end of a wait for a job or a check."""

from collections.abc import Callable

from ftlab.client.endpoint import Endpoint
from ftlab.client.wire import Statuses
from ftlab.errors import InvalidRequestError, WaitTimeoutError
from ftlab.schemas import Job
from ftlab.schemas.common import did_you_mean
from ftlab.status import JobStatus

OnStatus = Callable[[Job], None]
"""Called with the job when a wait begins, and whenever its status has changed since."""

JOB_PAUSES_S = (0.5, 5.0)
"""The first and the longest pause between two polls of a job."""
CHECK_PAUSES_S = (0.3, 2.0)
"""The first and the longest pause between two polls of a check."""


class Polling:
    """Growing pauses until a deadline, if there is one."""

    def __init__(self, endpoint: Endpoint, timeout_s: float | None, pauses_s: tuple[float, float]) -> None:
        self.deadline = None if timeout_s is None else endpoint.clock() + timeout_s
        self._timeout_s = timeout_s
        self._clock = endpoint.clock
        self._pause_s, self._max_pause_s = pauses_s

    def next_pause_s(self, what: str, state: str) -> float:
        """Seconds until the next poll of `what`; raise `WaitTimeoutError` when the deadline has passed."""
        pause_s = self._pause_s
        self._pause_s = min(self._max_pause_s, pause_s * 1.5)
        if self.deadline is None:
            return pause_s
        left_s = self.deadline - self._clock()
        if left_s <= 0:
            raise WaitTimeoutError(f"{what} did not end within {self._timeout_s:g} s; it is {state}.")
        return min(pause_s, left_s)


def final_statuses(until: Statuses) -> set[JobStatus]:
    """Every status that ends a wait: the terminal ones and those of `until`.

    Raises `InvalidRequestError` for a status that does not exist.
    """
    given = [until] if isinstance(until, str) else list(until or ())
    known = [str(status) for status in JobStatus]
    for status in given:
        if status not in known:
            raise InvalidRequestError(f"{status!r} is not a status.{did_you_mean(status, known)}", param="until")
    return {status for status in JobStatus if status.is_terminal or status in given}
