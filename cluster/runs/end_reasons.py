"""How an attempt that delivered nothing ended: its reason, and the sentence that the user reads."""

import re
import time
from collections.abc import Collection, Sequence

import ray

from cluster.machine.memory_kills import NO_KILLS, MemoryKills
from cluster.policy.retry import STOP_REASONS
from ftlab.status import FailureCause, ReasonCode
from train.plan import Failure, Outcome, StopKind

NODE_DEATH_S = 20.0
"""Seconds after which Ray declares a machine dead: about 12, rounded up."""
NODE_LOOK_INTERVAL_S = 0.5
MAX_RAY_CHARS = 600
_WORKER_INFO = re.compile(r" Worker info: Worker\(.*?log_file_path='[^']*'[ ,]*\)")
"""What Ray says about the worker in the middle of its error: ids and paths."""
_OUT_OF_MEMORY = ("OutOfMemoryError", "killed due to the node running low on memory")

_LEADS = {
    StopKind.CANCEL: "Cancelled",
    StopKind.PAUSE: "Paused",
    StopKind.TIME_LIMIT: "Ended by the job's time limit",
    StopKind.COST_LIMIT: "Ended by the job's max_cost",
    StopKind.PREEMPT: "Made room for another job",
    StopKind.EXTEND: "Stopped to continue with the appended files",
    StopKind.DRAIN: "Stopped with the service",
}


def of_stop(outcome: Outcome, wanted: StopKind | None) -> Failure:
    """Reason and message of a run that stopped on request. `wanted` is the newest request, which may be more urgent
    than the one that the run acted on.
    """
    assert outcome.stop is not None
    kind = max(outcome.stop, wanted or outcome.stop, key=lambda each: each.urgency)
    if kind is StopKind.FENCED:
        return Failure(ReasonCode.INTERNAL_ERROR, "Stopped because a newer attempt had taken over.")
    if outcome.kept is not None:
        saved = f"{outcome.kept}."
    elif outcome.has_saved:
        saved = f"its checkpoint of step {outcome.saved_step} was saved."
    elif outcome.saved_step is not None:
        saved = f"there was nothing to save after the checkpoint of step {outcome.saved_step}."
    else:
        saved = "there was nothing to save yet."
    return Failure(STOP_REASONS[kind], f"{_LEADS[kind]} at step {outcome.step}; {saved}")


def of_force(
    reason: ReasonCode, why: str, newest_checkpoint: int | None, notes: Sequence[str] = (), *, saves: bool = True
) -> Failure:
    """Reason and message of a run that its driver ended; `saves` says that its kind has checkpoints."""
    if not saves:
        return Failure(reason, why, notes=tuple(notes))
    saved = (
        "There is no checkpoint yet."
        if newest_checkpoint is None
        else f"The newest checkpoint is that of step {newest_checkpoint}."
    )
    return Failure(reason, f"{why} {saved}", notes=tuple(notes))


def of_crash(crash: BaseException | None, nodes: Collection[str] = (), kills: MemoryKills = NO_KILLS) -> Failure:
    """The failure of a run that ended without a report, derived from Ray's error and from what the kernel counted on
    this machine; `nodes` are the machines of its workers.

    Workers on another machine may end before Ray detects the loss of the machine, so this waits for the detection.
    """
    text = f"{type(crash).__name__}: {crash}"
    shown = _WORKER_INFO.sub("", " ".join(text.split()))[:MAX_RAY_CHARS]
    notes = () if crash is None else (f"Ray reports: {shown}",)
    if isinstance(crash, ray.exceptions.OutOfMemoryError) or any(mark in text for mark in _OUT_OF_MEMORY):
        message = "The machine ran out of memory, so a training worker was ended."
        return Failure(ReasonCode.HOST_OOM, message, notes=notes)
    if "PreemptionError" in text:
        return Failure(ReasonCode.NODE_LOST, "The machine of a training worker was shut down.", notes=notes)
    if "NodeDiedError" in text or _is_lost(nodes):
        message = "The machine of a training worker is no longer available."
        return Failure(ReasonCode.NODE_LOST, message, notes=notes)
    if kills.in_group:
        message = "The kernel ended a training worker, because the memory that the service may use was used up."
        return Failure(ReasonCode.HOST_OOM, message, notes=(kills.sentence, *notes))
    return Failure(
        ReasonCode.WORKER_CRASHED,
        "A training worker exited without an error message (killed, or a crash in native code).",
        cause=FailureCause.HOST_MEMORY if kills.on_machine else None,
        notes=(kills.sentence, *notes) if kills.on_machine else notes,
    )


def _is_lost(nodes: Collection[str]) -> bool:
    """Whether Ray declares one of these machines dead within the time that it needs for that."""
    elsewhere = set(nodes) - {ray.get_runtime_context().get_node_id()} if nodes else set()
    deadline = time.monotonic() + NODE_DEATH_S
    while elsewhere:
        if elsewhere - {node["NodeID"] for node in ray.nodes() if node["Alive"]}:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(NODE_LOOK_INTERVAL_S)
    return False
