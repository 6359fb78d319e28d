"""What your jobs cost."""

from collections.abc import Sequence
from datetime import date

from ftlab.client._async.transport import AsyncTransport
from ftlab.client.wire import Listing, Request, job_path
from ftlab.schemas import CostRecord, CostReport
from ftlab.schemas.costs import CostGroup


class AsyncCosts:
    """Records of what attempts held and cost, and their sums. Amounts are decimals."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def report(
        self, by: CostGroup | str = CostGroup.MODEL, *, since: date | None = None, until: date | None = None
    ) -> CostReport:
        """Sums by `model`, `owner`, `job`, `day`, `month` or `attempt`, of attempts that ended from `since` to `until`.

        Both days are included, in UTC.
        """
        params = {"by": str(by), "since": since, "until": until}
        return await self._transport.read(CostReport, Request("GET", "/api/costs", params))

    async def of_job(self, job: str) -> Sequence[CostRecord]:
        """The records of a job's attempts that have ended, oldest first. Raises `NotFoundError`."""
        return await self._transport.items(Listing[CostRecord], Request("GET", f"{job_path(job)}/costs"))
