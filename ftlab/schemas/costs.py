"""What jobs cost: amounts are decimals, as strings in JSON."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from ftlab.schemas.common import WireModel

MAX_AMOUNT = 1_000_000_000
Amount = Annotated[
    Decimal, Field(strict=False, gt=0, le=MAX_AMOUNT, decimal_places=6, max_digits=16, allow_inf_nan=False)
]
"""An amount that a user sets, in the service's currency: a number, or a string such as `"12.50"`."""


class CostGroup(StrEnum):
    """What costs are summed by."""

    OWNER = "owner"
    MODEL = "model"
    """The base model."""
    JOB = "job"
    DAY = "day"
    MONTH = "month"
    ATTEMPT = "attempt"
    """Every record by itself."""


class DeviceCost(WireModel):
    """Devices of one type that an attempt held."""

    device: str
    """`cpu` for cores, the type of the GPUs such as `H100`, or `gpu` where their type is not known."""
    quantity: Decimal
    hours: Decimal
    """Hours that they were held, times their number."""
    price_per_hour: Decimal | None = None
    """Price of one of them; `None` where the settings have none."""
    amount: Decimal | None = None


class EnergyCost(WireModel):
    """The electricity of the GPUs that an attempt held."""

    kwh: Decimal
    """From the mean power that the GPUs reported."""
    price_per_kwh: Decimal | None = None
    """`None` where the settings have no price `kwh`."""
    amount: Decimal | None = None


class CostRecord(WireModel):
    """What one attempt held and cost. It never changes, and outlives its job."""

    job_id: str
    attempt: int
    owner: str
    job_name: str
    model: str
    """The base model, as it was submitted; of an evaluation its model, or how many they are."""
    held_from: datetime
    held_until: datetime
    devices: list[DeviceCost]
    energy: EnergyCost | None = None
    """`None` where no GPU reported its power."""
    amount: Decimal | None = None
    """Sum of the devices and the energy, as far as they have a price; `None` where nothing has one."""
    currency: str | None = None


class CostSum(WireModel):
    """Costs with one key, for example of one model."""

    key: str
    name: str | None = None
    """Name of a job, where the key is its id."""
    currency: str | None = None
    amount: Decimal | None = None
    """`None` where no device had a price."""
    num_attempts: int
    cpu_hours: Decimal
    """Hours of CPU cores."""
    gpu_hours: Decimal
    energy_kwh: Decimal = Decimal(0)
    """Of the GPUs that reported their power."""


class CostReport(WireModel):
    """Sums of the records of attempts that ended in a period."""

    by: CostGroup
    data: list[CostSum] = Field(default_factory=list)
    """The most expensive first; periods in their order."""
    totals: list[CostSum] = Field(default_factory=list)
    """The sum of all, one for each currency."""
