"""`/api/quota`, and the checks of an owner's quotas. Every function that is not a route blocks on the store.

Quotas of queued jobs, of the disk and of uploads are checked here, when a request comes in; those of running devices
and the budget of a month by the scheduler, which lets jobs wait for them.
"""

from dataclasses import fields
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.responses import Response

from ftlab.errors import InvalidRequestError
from ftlab.schemas import Quota
from ftlab.schemas.requests import QuotaChange
from ftlab.settings import Settings
from serve.context import Caller, Services
from serve.http.json_body import JsonBody, JsonRoute
from serve.http.responses import reply
from tracking.budgets import spent_in_month
from tracking.quota_checks import exceeded, locked_limits
from tracking.store import Transaction
from tracking.store.quotas import effective_quota
from tracking.store.records import QuotaRecord

router = APIRouter(prefix="/api/quota", tags=["quota"], route_class=JsonRoute)


@router.get("", response_model=Quota, summary="Get your limits and usage")
async def get_quota(caller: Caller) -> Response:
    return reply(await caller.call(read_quota))


@router.put("", response_model=Quota, summary="Change your limits")
async def put_quota(caller: Caller, change: JsonBody[QuotaChange]) -> Response:
    """Fields that are left out stay as they are; `null` restores the service's setting."""
    return reply(await caller.call(change_quota, change), background=caller.services.announcement())


def read_quota(services: Services, owner: str) -> Quota:
    """The owner's limits and current use."""
    with services.store.read() as tx:
        return _to_quota(tx, services.settings, effective_quota(tx.quotas.get(owner), services.settings))


def change_quota(services: Services, owner: str, change: QuotaChange) -> Quota:
    """Set the given fields; `None` returns to the setting.

    Raise `InvalidRequestError` (`no_prices`) for a budget where nothing has a price: it could never be used up.
    """
    if change.max_monthly_cost is not None and not services.settings.prices:
        raise InvalidRequestError(
            "max_monthly_cost has no effect, because the service has no prices; set 'prices' in its settings first.",
            "no_prices",
            "max_monthly_cost",
        )
    with services.store.begin() as tx:
        quota = tx.quotas.set(owner, **change.model_dump(exclude_unset=True))
        return _to_quota(tx, services.settings, effective_quota(quota, services.settings))


def check_upload(tx: Transaction, settings: Settings, owner: str, num_bytes: int) -> None:
    """Raise `RateLimitError` (code `quota_exceeded`) when a dataset of this size would be too much."""
    limits = locked_limits(tx, settings, owner)
    # Open uploads count too, or else several at once could exceed the quota.
    num_bytes += tx.uploads.open_bytes(owner)
    most = limits.max_upload_bytes
    if most is not None and tx.usage.upload_bytes(owner) + num_bytes > most:
        raise exceeded(f"With this file, your datasets would exceed {most} bytes", "max_upload_bytes")
    most = limits.max_disk_bytes
    if most is not None and tx.usage.disk_bytes(owner) + num_bytes > most:
        raise exceeded(f"With this file, your datasets and checkpoints would exceed {most} bytes", "max_disk_bytes")


def _to_quota(tx: Transaction, settings: Settings, limits: QuotaRecord) -> Quota:
    usage = tx.usage.of(limits.owner)
    values = {field.name: getattr(record, field.name) for record in (limits, usage) for field in fields(record)}
    return Quota(
        **values,
        monthly_cost=spent_in_month(tx, settings, limits.owner, datetime.now(UTC)),
        currency=settings.currency if settings.prices else None,
    )
