"""`/api/training/devices`: how many devices the service has, by type, and how many of them jobs hold."""

from collections import Counter
from decimal import Decimal

from fastapi import APIRouter
from starlette.responses import Response

from cluster.policy import Fleet
from ftlab.schemas.replies import DeviceList, DeviceUse
from serve.context import Caller, Services
from serve.http.responses import reply
from tracking.costs import CPU, GPU, held_devices

router = APIRouter(tags=["jobs"])


@router.get("/api/training/devices", response_model=DeviceList, summary="List the devices by type: total and used")
async def get_devices(caller: Caller) -> Response:
    """The devices of all machines that take part in training. `used` counts the jobs of all owners."""
    return reply(await caller.call(read_devices))


def read_devices(services: Services, owner: str) -> DeviceList:
    """What the scheduler can give to jobs, and what they hold, in its own record."""
    with services.store.read() as tx:
        live = tx.attempts.live()
    used = Counter[str]()
    for attempt in live:
        used.update(held_devices(attempt.cpus, attempt.gpus, attempt.gpu_types))
    fleet = services.coordinator.machines()
    total = totals_of(fleet) if fleet else dict.fromkeys(used)
    names = sorted({*total, *used}, key=lambda name: (name == CPU, name))
    out = Counter[str]()
    for node in fleet.nodes if fleet else ():
        out[node.gpu_type or GPU] += len(node.gpus_out)
    return DeviceList(data=[_use_of(name, total.get(name), Decimal(used[name]), out[name]) for name in names])


def totals_of(fleet: Fleet) -> dict[str, Decimal | None]:
    """Devices of a fleet by type; GPUs whose type is not known are `gpu`."""
    found = Counter[str]()
    for node in fleet.nodes:
        found[CPU] += node.cpus
        found[node.gpu_type or GPU] += node.gpus
    return {name: Decimal(number) for name, number in found.items() if number}


def _use_of(name: str, total: Decimal | None, used: Decimal, out: int) -> DeviceUse:
    free = None if total is None else max(Decimal(0), total - used - out)
    return DeviceUse(device=name, total=_number(total), used=float(used), out=out, free=_number(free))


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
