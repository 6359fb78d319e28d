"""`/api/costs`, and what jobs cost. Every function that is not a route blocks on the store."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from ftlab.schemas.costs import CostGroup, CostReport, CostSum
from ftlab.schemas.records import JobCost
from ftlab.schemas.replies import CostRecordList
from ftlab.settings import Settings
from serve.context import Caller, Services
from serve.http.openapi import also_as
from serve.http.responses import reply
from tracking.costs import job_cost, report
from tracking.store import Transaction
from tracking.store.records import AttemptRecord, JobRecord

LAST_DAY = date(9000, 1, 1)
"""Later days count as this one: they have no day after them."""
CSV_COLUMNS = [name for name in CostSum.model_fields if name != "name"]
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a cell that a spreadsheet takes for a formula."""

router = APIRouter(prefix="/api/costs", tags=["costs"])


@router.get("", response_model=CostReport, responses=also_as("text/csv"), summary="Sum up what your jobs cost")
async def get_costs(
    caller: Caller,
    by: Annotated[CostGroup, Query(description="What the sums are by.")] = CostGroup.MODEL,
    since: Annotated[date | None, Query(description="First day, in UTC.")] = None,
    until: Annotated[date | None, Query(description="Last day, in UTC.")] = None,
    format: Annotated[Literal["json", "csv"], Query(description="Format of the reply.")] = "json",
) -> Response:
    """Attempts that ended in the period, also those of deleted jobs. Amounts and hours are decimals, as strings."""
    found = await caller.call(read_report, by, since, until)
    if format == "csv":
        headers = {"content-disposition": f'attachment; filename="costs-by-{by.value}.csv"'}
        return Response(to_csv(found), media_type="text/csv; charset=utf-8", headers=headers)
    return reply(found)


def read_report(services: Services, owner: str, by: CostGroup, since: date | None, until: date | None) -> CostReport:
    """The sums of the owner's records from the first moment of `since` to the last one of `until`."""
    begin = None if since is None else _midnight(min(since, LAST_DAY))
    end = None if until is None else _midnight(min(until, LAST_DAY) + timedelta(days=1))
    with services.store.read() as tx:
        return report(tx.costs.of_period(owner=owner, since=begin, until=end), by)


def records_of(services: Services, owner: str, job: str) -> CostRecordList:
    """The records of a job's attempts that have ended. Raises `NotFoundError`."""
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        return CostRecordList(data=tx.costs.of_jobs([record.id]).get(record.id, []))


def costs_of(settings: Settings, tx: Transaction, jobs: Sequence[JobRecord], now: datetime) -> dict[str, JobCost]:
    """What these jobs cost so far, by id; without those that have no cost."""
    ids = [job.id for job in jobs if job.attempt]
    if not ids:
        return {}
    records = tx.costs.of_jobs(ids)
    pending: dict[str, list[AttemptRecord]] = {}
    for attempt in tx.attempts.without_cost_record(ids):
        pending.setdefault(attempt.job_id, []).append(attempt)
    found = {job.id: job_cost(settings, job, records.get(job.id, []), pending.get(job.id, []), now) for job in jobs}
    return {job_id: cost for job_id, cost in found.items() if cost is not None}


def to_csv(found: CostReport) -> str:
    """The sums as CSV; the key's column has the name of what the sums are by."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    has_names = any(each.name is not None for each in found.data)
    columns = [*CSV_COLUMNS, "name"] if has_names else CSV_COLUMNS
    writer.writerow([found.by.value if column == "key" else column for column in columns])
    for each in found.data:
        writer.writerow([_cell(getattr(each, column)) for column in columns])
    return text.getvalue()


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULAS) else text


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
