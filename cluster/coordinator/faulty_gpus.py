"""Takes GPUs out on which one job after another fails, until an admin restores them."""

import logging
from datetime import timedelta

from cluster.coordinator.failed_jobs import contained
from cluster.coordinator.tick import Tick
from cluster.policy import Fleet, Spot
from ftlab.schemas.accounts import LOCAL_USER
from ftlab.schemas.notifications import NotificationKind
from ftlab.status import ReasonCode
from tracking.notifications.collect import add_notification
from tracking.store import Store, Transaction
from tracking.store.device_faults import DeviceFault, GpuOut
from tracking.store.notifications import NewNotification
from tracking.store.records import AttemptRecord, JobRef

logger = logging.getLogger(__name__)


def usable(store: Store, fleet: Fleet) -> Fleet:
    """The machines without the GPUs that are taken out."""
    return fleet.without(_gpus_out(store))


class FaultyGpus:
    """Notes faults of GPUs and takes GPUs out. Remembers which are out, and whether any was set aside."""

    def __init__(self) -> None:
        self._out: set[tuple[str, int]] = set()
        self._has_set_aside = False

    def note(self, tick: Tick) -> None:
        """Record the faults of the attempts that have ended, and take out GPUs on which too many jobs failed.

        Must come before the attempts are counted; what is repeated after a crash changes nothing.
        """
        faults = [attempt for attempt in tick.uncounted if attempt.reason is ReasonCode.GPU_LOST]
        if not faults or not tick.settings.gpu_fault_jobs:
            return
        names = {node.id: node.name for node in tick.cluster.fleet().nodes}
        for attempt in faults:
            spot = _faulty_spot(attempt)
            if spot is None or spot.gpu is None or not names.get(spot.node):
                logger.info("Job %s: it is not known which GPU failed", attempt.job_id)
                continue
            fault = DeviceFault(names[spot.node], spot.gpu, attempt.message or "", attempt.ended_at or tick.now)
            with contained(tick, "recorded as one that a GPU failed", attempt.job_id), tick.store.begin() as tx:
                tx.device_faults.add(JobRef(attempt.job_id, attempt.number), fault)
                _take_out_if_due(tx, tick, fault)

    def keep_out(self, tick: Tick) -> bool:
        """Have Ray give the GPUs that are out to no run; return whether there are any. It takes several ticks."""
        self._out = _gpus_out(tick.store)
        if not self._out and not self._has_set_aside:
            return False
        fleet = self.usable(tick.cluster.fleet())
        wanted = {Spot(node.id, gpu) for node in fleet.nodes for gpu in node.gpus_out}
        tick.cluster.set_aside(wanted, {spot for attempt in tick.attempts for spot in _spots_of(attempt)})
        self._has_set_aside = bool(wanted)
        return self._has_set_aside

    def usable(self, fleet: Fleet) -> Fleet:
        """The machines without the GPUs that were out when `keep_out` read them in this tick."""
        return fleet.without(self._out)


def _gpus_out(store: Store) -> set[tuple[str, int]]:
    """Machine and number of each GPU that is taken out."""
    with store.read() as tx:
        return {(gpu.node, gpu.gpu) for gpu in tx.device_faults.out()}


def _faulty_spot(attempt: AttemptRecord) -> Spot | None:
    """The GPU of the worker that reported the failure; `None` where it is not known."""
    devices = attempt.process_devices
    rank = (attempt.failure or {}).get("rank", 0 if len(devices) == 1 else None)
    if rank is None or rank >= len(devices):
        return None
    node, gpus = devices[rank]
    return Spot(node, gpus[0]) if len(gpus) == 1 else None


def _spots_of(attempt: AttemptRecord) -> set[Spot]:
    """The GPUs that Ray gave to the processes; until they are up, those that were planned."""
    given = {Spot(node, gpu) for node, gpus in attempt.process_devices for gpu in gpus}
    return given or {Spot(node, gpu) for node, gpu in attempt.placement if gpu is not None}


def _take_out_if_due(tx: Transaction, tick: Tick, fault: DeviceFault) -> None:
    window = timedelta(seconds=tick.settings.gpu_fault_window_s)
    tx.device_faults.forget_before(tick.now - window)
    jobs = tx.device_faults.jobs_of(fault.node, fault.gpu, since=tick.now - window)
    if len(jobs) < tick.settings.gpu_fault_jobs:
        return
    reason = f"{len(jobs)} jobs failed on it: {', '.join(jobs)}. The last failure: {fault.message}"
    if not tx.device_faults.take_out(GpuOut(fault.node, fault.gpu, tick.now, reason)):
        return
    logger.warning("GPU %d of %s is taken out: %s", fault.gpu, fault.node, reason)
    new = NewNotification(
        kind=NotificationKind.GPU_OUT,
        title=f"GPU {fault.gpu} of {fault.node} is taken out",
        message=f"{reason} No job gets this GPU until it is restored: check the machine's log for Xid errors, then run "
        f"'ftlab nodes restore {fault.node} gpu-{fault.gpu}'.",
        at=tick.now,
    )
    for admin in sorted({key.owner for key in tx.keys.admins(now=tick.now)} or {LOCAL_USER}):
        add_notification(tx, admin, new, tx.channels.list(owner=admin))
