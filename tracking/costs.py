"""What attempts cost: the devices that they held, for the time that they held them, at the prices of the settings.

Decimals throughout: a binary fraction cannot hold a cent. Pure functions.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from ftlab.schemas.costs import CostGroup, CostRecord, CostReport, CostSum, DeviceCost, EnergyCost
from ftlab.schemas.records import JobCost
from ftlab.settings import Settings
from tracking.store.records import AttemptRecord, JobRecord, JobRef

CPU, GPU = "cpu", "gpu"
KWH = "kwh"
"""The price of electricity."""
SMALLEST = Decimal("0.000001")
"""Amounts and hours are rounded to this."""
SECONDS_PER_HOUR = 3600
WATTS_PER_KW = 1000
NO_POWER: Mapping[JobRef, float] = {}
MICROSECOND = timedelta(microseconds=1)
PERIODS = {CostGroup.DAY: "%Y-%m-%d", CostGroup.MONTH: "%Y-%m"}


def record_of(
    settings: Settings, job: JobRecord, attempt: AttemptRecord, energy_kwh: Decimal | None = None
) -> CostRecord:
    """The record of an attempt that has ended, at the present prices; `energy_kwh` is the electricity of its GPUs."""
    assert attempt.ended_at is not None
    devices = devices_of(settings, attempt, attempt.ended_at)
    energy = None if energy_kwh is None else _energy_of(settings, energy_kwh)
    amount = _amount_of([*devices, energy] if energy else devices)
    return CostRecord(
        job_id=job.id,
        attempt=attempt.number,
        owner=job.owner,
        job_name=job.name,
        model=model_of(job.submitted_config),
        held_from=attempt.created_at,
        held_until=max(attempt.created_at, attempt.ended_at),
        devices=devices,
        energy=energy,
        amount=amount,
        currency=None if amount is None else settings.currency,
    )


def model_of(config: Mapping[str, Any]) -> str:
    """The model that a job works on, by which costs are summed; of an evaluation of several, how many they are."""
    models = config.get("models") or []
    return f"{len(models)} models" if len(models) > 1 else str(config.get("model") or "".join(models))


def devices_of(settings: Settings, attempt: AttemptRecord, until: datetime) -> list[DeviceCost]:
    """The devices that an attempt holds or held, with what they cost until then."""
    hours = _hours(attempt.created_at, until)
    return [
        DeviceCost(
            device=device,
            quantity=quantity,
            hours=_rounded(quantity * hours),
            price_per_hour=(price := price_of(settings.prices, device)),
            amount=None if price is None else _rounded(quantity * hours * price),
        )
        for device, quantity in held_devices(attempt.cpus, attempt.gpus, attempt.gpu_types).items()
    ]


def held_devices(cpus: int, gpus: float, gpu_types: Mapping[str, float]) -> dict[str, Decimal]:
    """Number of devices by type; GPUs whose type is not known are `gpu`."""
    held = {CPU: Decimal(cpus)} | {name: Decimal(str(number)) for name, number in gpu_types.items()}
    held[GPU] = Decimal(str(gpus)) - sum(held[name] for name in gpu_types)
    return {device: quantity for device, quantity in held.items() if quantity > 0}


def price_of(prices: Mapping[str, Decimal], device: str) -> Decimal | None:
    """Price of one device for one hour. A type of GPU without a price of its own has that of `gpu`."""
    return prices.get(device, None if device == CPU else prices.get(GPU))


def rate_of(settings: Settings, held: Mapping[str, Decimal]) -> Decimal | None:
    """What these devices cost an hour; `None` where none has a price."""
    prices = {device: price_of(settings.prices, device) for device in held}
    known = [held[device] * price for device, price in prices.items() if price is not None]
    return _rounded(sum(known, Decimal(0))) if known else None


def amount_of(rate_per_hour: Decimal, time_s: float) -> Decimal:
    """What holding devices for a time costs."""
    return _rounded(rate_per_hour * Decimal(str(time_s)) / SECONDS_PER_HOUR)


def seconds_for(amount: Decimal, rate_per_hour: Decimal) -> float:
    """How long devices can be held for an amount."""
    return float(amount / rate_per_hour * SECONDS_PER_HOUR)


def kwh_of(watts: float, begin: datetime, end: datetime) -> Decimal:
    """The electricity of a mean power between two moments."""
    return _rounded(Decimal(str(watts)) / WATTS_PER_KW * _hours(begin, end))


def cost_so_far(
    settings: Settings,
    amounts: Iterable[Decimal],
    pending: Sequence[AttemptRecord],
    now: datetime,
    watts: Mapping[JobRef, float] = NO_POWER,
) -> tuple[Decimal, Decimal]:
    """What attempts cost together until now, and what the live ones cost an hour.

    `amounts` are those of records in the currency of the settings, and `pending` the attempts without a record, whose
    GPUs have drawn `watts`.
    """
    amount, rate = sum(amounts, Decimal(0)), _rate_now(settings, pending)
    for attempt in pending:
        until = attempt.ended_at or now
        amount += _amount_of(devices_of(settings, attempt, until)) or 0
        power, price = watts.get(JobRef(attempt.job_id, attempt.number)), settings.prices.get(KWH)
        if power is not None and price is not None:
            amount += _rounded(kwh_of(power, attempt.created_at, until) * price)
            rate += _rounded(Decimal(str(power)) / WATTS_PER_KW * price) if attempt.ended_at is None else 0
    return amount, rate


def job_cost(
    settings: Settings, job: JobRecord, records: Sequence[CostRecord], pending: Sequence[AttemptRecord], now: datetime
) -> JobCost | None:
    """What a job costs so far; `None` where no device had a price.

    `pending` are the attempts without a record: the live one, and one that has just ended.
    """
    amounts = [(record.amount, record.currency) for record in records]
    held = (_amount_of(devices_of(settings, attempt, attempt.ended_at or now)) for attempt in pending)
    amounts += [(amount, settings.currency) for amount in held]
    priced = [(amount, currency) for amount, currency in amounts if amount is not None and currency is not None]
    if not priced:
        return None
    currency = priced[-1][1]
    # Where the currency was changed meanwhile, what was spent in another one is in its records only.
    amount = sum((amount for amount, each in priced if each == currency), Decimal(0))
    rate, expected = _rate_now(settings, pending), None
    if rate and job.eta_s is not None:
        expected = amount + amount_of(rate, job.eta_s)
    return JobCost(
        amount=amount,
        currency=currency,
        is_final=job.status.is_terminal and not pending,
        rate_per_hour=rate,
        expected=expected,
        estimated=_estimated(settings, job, records, pending),
    )


def _rate_now(settings: Settings, pending: Sequence[AttemptRecord]) -> Decimal:
    held = (held_devices(each.cpus, each.gpus, each.gpu_types) for each in pending if each.ended_at is None)
    return sum((rate_of(settings, devices) or Decimal(0) for devices in held), Decimal(0))


def _estimated(
    settings: Settings, job: JobRecord, records: Sequence[CostRecord], pending: Sequence[AttemptRecord]
) -> Decimal | None:
    """What the training or the evaluation was expected to cost, at the prices of the first attempt."""
    if job.estimated_time_s is None:
        return None
    if records:
        devices = records[0].devices
        priced = [each.quantity * each.price_per_hour for each in devices if each.price_per_hour is not None]
        rate = _rounded(sum(priced, Decimal(0))) if priced else None
    else:
        first = pending[0]
        rate = rate_of(settings, held_devices(first.cpus, first.gpus, first.gpu_types))
    return None if rate is None else amount_of(rate, job.estimated_time_s)


def report(records: Iterable[CostRecord], by: CostGroup) -> CostReport:
    """The records summed up: by key and currency, and all of them by currency."""
    sums: dict[tuple[str, str | None], CostSum] = {}
    totals: dict[str | None, CostSum] = {}
    for record in records:
        key, name = _key_of(record, by)
        one = _one(record, key, name)
        sums[key, record.currency] = _plus(sums.get((key, record.currency)), one)
        totals[record.currency] = _plus(
            totals.get(record.currency), one.model_copy(update={"key": "total", "name": None})
        )
    data = list(sums.values())
    if by in PERIODS:
        data.sort(key=lambda each: each.key)
    elif by is not CostGroup.ATTEMPT:
        data.sort(key=lambda each: (-(each.amount or 0), -each.gpu_hours, -each.cpu_hours, each.key))
    return CostReport(by=by, data=data, totals=list(totals.values()))


def _key_of(record: CostRecord, by: CostGroup) -> tuple[str, str | None]:
    """The key that a record belongs to, and the name of its job where the key is one of it."""
    match by:
        case CostGroup.DAY | CostGroup.MONTH:
            return f"{record.held_until:{PERIODS[by]}}", None
        case CostGroup.OWNER:
            return record.owner, None
        case CostGroup.MODEL:
            return record.model, None
        case CostGroup.JOB:
            return record.job_id, record.job_name
    return f"{record.job_id}/{record.attempt}", record.job_name


def _one(record: CostRecord, key: str, name: str | None) -> CostSum:
    cpu_hours = sum((each.hours for each in record.devices if each.device == CPU), Decimal(0))
    gpu_hours = sum((each.hours for each in record.devices if each.device != CPU), Decimal(0))
    return CostSum(
        key=key,
        name=name,
        currency=record.currency,
        amount=record.amount,
        num_attempts=1,
        cpu_hours=cpu_hours,
        gpu_hours=gpu_hours,
        energy_kwh=record.energy.kwh if record.energy else Decimal(0),
    )


def _plus(first: CostSum | None, second: CostSum) -> CostSum:
    if first is None:
        return second
    amounts = [each.amount for each in (first, second) if each.amount is not None]
    return first.model_copy(
        update={
            "amount": sum(amounts, Decimal(0)) if amounts else None,
            "num_attempts": first.num_attempts + second.num_attempts,
            "cpu_hours": first.cpu_hours + second.cpu_hours,
            "gpu_hours": first.gpu_hours + second.gpu_hours,
            "energy_kwh": first.energy_kwh + second.energy_kwh,
        }
    )


def _energy_of(settings: Settings, kwh: Decimal) -> EnergyCost:
    price = settings.prices.get(KWH)
    return EnergyCost(kwh=kwh, price_per_kwh=price, amount=None if price is None else _rounded(kwh * price))


def _amount_of(parts: Sequence[DeviceCost | EnergyCost]) -> Decimal | None:
    amounts = [part.amount for part in parts if part.amount is not None]
    return sum(amounts, Decimal(0)) if amounts else None


def _hours(begin: datetime, end: datetime) -> Decimal:
    """Exact hours between two moments; a clock that was set back counts as none."""
    microseconds = max(timedelta(0), end - begin) // MICROSECOND
    return Decimal(microseconds) / (SECONDS_PER_HOUR * 1_000_000)


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(SMALLEST, ROUND_HALF_UP)
