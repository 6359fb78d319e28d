"""What evaluations found."""

from collections.abc import AsyncIterator

from ftlab.client._async.transport import AsyncTransport
from ftlab.client.wire import Request, job_path
from ftlab.schemas.evaluation_results import AnsweredRow, EvaluationOptions, EvaluationResults
from ftlab.schemas.replies import AnsweredRowList

PAGE_ROWS = 500


class AsyncEvaluations:
    """Results of evaluations, which are jobs: `client.jobs` submits them with an `EvaluationConfig`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def options(self) -> EvaluationOptions:
        """The judges that metrics may name, and the tasks of lm-evaluation-harness that the service has."""
        return await self._transport.read(EvaluationOptions, Request("GET", "/api/evaluations/options"))

    async def results(self, job: str) -> EvaluationResults:
        """Values with intervals, tests, and the worst and best rows; the base models come first.

        Raises `ConflictError` for a job of another kind, and for an evaluation that has not completed.
        """
        return await self._transport.read(EvaluationResults, Request("GET", f"{job_path(job)}/evaluation"))

    async def rows(self, job: str) -> AsyncIterator[AnsweredRow]:
        """Every row with the answers and scores of all models, fetched page by page. Raises what `results` raises."""
        after, has_more = 0, True
        while has_more:
            request = Request("GET", f"{job_path(job)}/evaluation/rows", {"after": after, "limit": PAGE_ROWS})
            page = await self._transport.read(AnsweredRowList, request)
            for row in page.data:
                yield row
            has_more = page.has_more
            after = page.data[-1].row if page.data else after
