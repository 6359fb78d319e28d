"""The doctor over the API: asked until the report is there."""

from ftlab.client import calls
from ftlab.client.calls import ReadOptions
from ftlab.client.endpoint import Endpoint
from ftlab.client.flows import call
from ftlab.client.steps import Sleep, Steps
from ftlab.client.wire import OnProgress
from ftlab.errors import WaitTimeoutError
from ftlab.schemas.checks import CheckReport

FIRST_POLL_S = 0.3
MAX_POLL_S = 2.0


def check(
    endpoint: Endpoint,
    dataset: str,
    options: ReadOptions,
    *,
    eval_dataset: str | None,
    max_findings: int | None,
    timeout_s: float | None,
    on_progress: OnProgress | None,
) -> Steps[CheckReport]:
    """Ask for a check until it has ended; raise `WaitTimeoutError`, and the error that ended it."""
    deadline = None if timeout_s is None else endpoint.clock() + timeout_s
    what = calls.check_dataset(dataset, options, eval_dataset, max_findings)
    pause_s = FIRST_POLL_S
    while True:
        found = yield from call(endpoint, what, deadline)
        if isinstance(found, CheckReport):
            return found
        if on_progress is not None:
            on_progress(found.done_rows, found.total_rows or None)
        left_s = pause_s if deadline is None else deadline - endpoint.clock()
        if left_s <= 0:
            raise WaitTimeoutError(f"The check of dataset {dataset} did not end within {timeout_s:g} s; it goes on.")
        yield Sleep(min(pause_s, left_s))
        pause_s = min(MAX_POLL_S, pause_s * 1.5)
