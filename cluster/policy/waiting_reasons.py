"""Reasons why jobs wait, as sentences for users."""

from collections.abc import Sequence

from cluster.policy.fleet import Devices, Fleet, WorkerShape, gpus_in_words
from cluster.policy.free_devices import Room
from cluster.policy.jobs import RunningJob, Share
from ftlab.formatting import counted
from ftlab.status import JobStatus, ReasonCode

HELD = "Held: "
"""How the sentence begins about a job that does not start by itself."""
NAMED_JOBS = 3
"""How many jobs a sentence names; more are counted."""


def too_large(shape: WorkerShape, fleet: Fleet) -> str:
    """The reason why the job can never run on these machines."""
    if len(fleet.nodes) == 1:
        return f"The job needs {shape.total}; this machine gives {fleet.total} for training. Request less."
    each = Devices(shape.cpus_per_worker, shape.gpus_per_worker)
    most = Room.of(fleet).slots(shape)
    return (
        f"The job needs {counted(shape.num_workers, 'worker')} with {each} each; "
        f"the {len(fleet.nodes)} machines have room for {most}. Request less."
    )


def waits_for_machines(shape: WorkerShape, fleet: Fleet) -> str:
    there = f"the available machines offer {fleet.offered}" if fleet.nodes else "no machine is available"
    if shape.gpus_per_worker and fleet.num_out:
        there += f", and {gpus_in_words(fleet.num_out)} {'is' if fleet.num_out == 1 else 'are'} taken out because of "
        there += "failures; see 'ftlab nodes'"
    return f"Waiting for {shape.total}; {there}."


def waits_for_devices(shape: WorkerShape, room: Room) -> str:
    """The missing devices, and how many of them are free."""
    gpus_free = sum(node.gpu_slots(shape.gpus_per_worker) for node in room.nodes.values())
    if shape.gpus_per_worker and gpus_free < shape.num_workers:
        return f"Waiting for {gpus_in_words(shape.total.gpus)}; {_are_free(gpus_free)}."
    cpus_free = sum(max(0, node.cpus) for node in room.nodes.values())
    if cpus_free < shape.total.cpus:
        return f"Waiting for {Devices(shape.total.cpus, 0)}; {_are_free(cpus_free)}."
    each = Devices(shape.cpus_per_worker, shape.gpus_per_worker)
    return (
        f"Waiting for room for {counted(shape.num_workers, 'worker')} with {each} each; {_are_free(room.slots(shape))}."
    )


def waits_for_stopping(shape: WorkerShape, stopping: list[RunningJob]) -> str:
    names = ", ".join(job.id for job in stopping[:NAMED_JOBS])
    if len(stopping) > NAMED_JOBS:
        names = f"{len(stopping)} jobs"
    verb = "saves its work and makes" if len(stopping) == 1 else "save their work and make"
    return f"Waiting for {shape.total}; {names} {verb} room."


def waits_for_data(percent: int | None) -> str:
    return f"Waiting for its data, which is being prepared{'' if percent is None else f': {percent} %'}."


def waits_for_data_ahead(num_ahead: int) -> str:
    return f"Waiting for its data, which is prepared after that of {num_ahead} jobs ahead of it."


def waits_for_data_source(why: str) -> str:
    return f"Waiting for its data: {why}"


def waits_in_line(num_ahead: int) -> str:
    return f"Waiting for {counted(num_ahead, 'job')} ahead of it."


def waits_for_quota(held: Devices, needed: Devices, share: Share) -> str | None:
    """The quota that keeps the owner from holding more, or `None`."""
    gpus, cpus = share.max_running_gpus, share.max_running_cpus
    if gpus is not None and needed.gpus and held.gpus + needed.gpus > gpus:
        limit, inuse = gpus_in_words(gpus), f"{held.gpus:g}"
    elif cpus is not None and held.cpus + needed.cpus > cpus:
        limit, inuse = str(Devices(cpus, 0)), str(held.cpus)
    else:
        return None
    return f"Waiting for the quota: jobs of this owner may use {limit} at once and are using {inuse}."


def waits_behind_quota() -> str:
    return "Waiting for the quota: an earlier job of the same owner waits for it too."


def held_by_budget(spent: str) -> str:
    return (
        f"{HELD}the budget of its owner is used up ({spent}). It starts in the next month (UTC), or when an admin "
        "raises max_monthly_cost."
    )


def held_without_price() -> str:
    return (
        f"{HELD}it has a max_cost, and a device that it may get has no price, so the limit would never be reached. Set "
        "a price in the setting 'prices', or cancel the job and resume it without max_cost."
    )


def waits_for_job(name: str, job_id: str, status: JobStatus, why: str | None, *, num_more: int) -> str:
    """The first of the jobs that it waits for, with why that one is held, if it is."""
    more = f" and {counted(num_more, 'more job')}" if num_more else ""
    if status is JobStatus.PAUSED:
        return f"Waiting for job {name!r} ({job_id}){more}; that job is paused, and continues once it is resumed."
    return f"Waiting for job {name!r} ({job_id}){more}; that job is {f'held. {why}' if why else f'{status}.'}"


def held_by_job(name: str, job_id: str, status: JobStatus, reason: ReasonCode | None) -> str:
    ended = f"has failed ({reason})" if reason else "was cancelled" if status is JobStatus.CANCELLED else "has failed"
    return (
        f"{HELD}job {name!r} ({job_id}), which it waits for, {ended}. Resume that job ('ftlab resume {job_id}'), or "
        "cancel this one."
    )


def held_by_deleted_job(job_id: str) -> str:
    return f"{HELD}job {job_id}, which it waits for, was deleted. Cancel this job."


def released_by(completed: Sequence[str]) -> str:
    """The notice about a job that waits for no other job any more."""
    jobs = "The job" if len(completed) == 1 else "Every job"
    return f"{jobs} that this one waited for has completed: {', '.join(completed)}."


def _are_free(count: int) -> str:
    return {0: "none is free", 1: "1 is free"}.get(count, f"{count} are free")
