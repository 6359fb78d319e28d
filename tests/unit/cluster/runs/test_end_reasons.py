"""The sentences of attempts that delivered nothing."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import ray

from cluster.machine.memory_kills import MemoryKills
from cluster.runs import end_reasons
from cluster.runs.end_reasons import of_crash, of_force, of_stop
from ftlab.status import RETRY_CLASSES, FailureCause, ReasonCode, RetryClass
from train.plan import Ending, Outcome, StopKind


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (StopKind.CANCEL, ReasonCode.USER_CANCELLED),
        (StopKind.PAUSE, ReasonCode.OK),
        (StopKind.TIME_LIMIT, ReasonCode.TIME_LIMIT),
        (StopKind.PREEMPT, ReasonCode.PREEMPTED),
        (StopKind.DRAIN, ReasonCode.SERVICE_RESTARTED),
    ],
)
def test_each_kind_of_stop_has_its_reason_and_names_the_step_that_was_saved(kind: StopKind, reason: ReasonCode):
    found = of_stop(Outcome(Ending.STOPPED, 12, kind, has_saved=True, saved_step=12), None)
    assert found.reason is reason
    assert found.message.endswith("at step 12; its checkpoint of step 12 was saved.")


@pytest.mark.parametrize("kind", [StopKind.PREEMPT, StopKind.DRAIN])
def test_what_the_service_wants_is_never_paid_by_the_job(kind: StopKind):
    reason = of_stop(Outcome(Ending.STOPPED, 1, kind), None).reason
    assert RETRY_CLASSES[reason] is RetryClass.FREE


def test_a_stop_with_nothing_to_save_says_so():
    early = Outcome(Ending.STOPPED, 0, StopKind.PAUSE)
    assert of_stop(early, None).message == "Paused at step 0; there was nothing to save yet."
    resumed = Outcome(Ending.STOPPED, 20, StopKind.CANCEL, saved_step=20)
    assert (
        of_stop(resumed, None).message
        == "Cancelled at step 20; there was nothing to save after the checkpoint of step 20."
    )


def test_a_more_urgent_wish_that_came_too_late_for_the_run_still_counts():
    outcome = Outcome(Ending.STOPPED, 12, StopKind.PREEMPT, has_saved=True, saved_step=12)
    assert of_stop(outcome, StopKind.PAUSE).reason is ReasonCode.OK
    assert of_stop(outcome, StopKind.DRAIN).reason is ReasonCode.PREEMPTED


def test_a_run_that_was_ended_by_force_says_what_is_left():
    assert of_force(ReasonCode.TIME_LIMIT, "Over.", 15).message == "Over. The newest checkpoint is that of step 15."
    assert of_force(ReasonCode.WORKER_HUNG, "Stuck.", None).message == "Stuck. There is no checkpoint yet."


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Ray's view of the machines, look by look; the driver is on "head", and no look takes time."""
    clock = iter(range(1000))

    def see(*looks: dict[str, bool]) -> None:
        coming = [*looks[:-1], *[looks[-1]] * 100]
        nodes = ([{"NodeID": name, "Alive": alive} for name, alive in look.items()] for look in coming)
        monkeypatch.setattr(ray, "nodes", lambda: next(nodes))

    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "head"))
    monkeypatch.setattr(end_reasons, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    return see


def test_workers_that_end_before_their_machine_is_given_up_were_lost_with_it(machines: Callable[..., None]):
    machines({"head": True, "m1": True}, {"head": True, "m1": True}, {"head": True, "m1": False})
    assert of_crash(RuntimeError("The worker died."), {"m1"}).reason is ReasonCode.NODE_LOST


def test_a_worker_that_crashed_on_a_machine_that_lives_has_crashed(machines: Callable[..., None]):
    machines({"head": True, "m1": True})
    assert of_crash(RuntimeError("The worker died."), {"m1", "head"}).reason is ReasonCode.WORKER_CRASHED


def test_nothing_is_waited_for_on_the_drivers_own_machine(monkeypatch: pytest.MonkeyPatch, machines: object):
    monkeypatch.setattr(ray, "nodes", pytest.fail)
    assert of_crash(RuntimeError("The worker died."), {"head"}).reason is ReasonCode.WORKER_CRASHED
    assert of_crash(RuntimeError("The worker died.")).reason is ReasonCode.WORKER_CRASHED


def test_what_ray_and_the_kernel_report_is_kept():
    crash = RuntimeError("The actor died unexpectedly.\n  Its exit code was -9.")
    silent = of_crash(crash)
    assert silent.notes == ("Ray reports: RuntimeError: The actor died unexpectedly. Its exit code was -9.",)
    assert (silent.reason, silent.cause) == (ReasonCode.WORKER_CRASHED, None)
    assert of_crash(None).notes == ()
    worker = "Worker(\n actor=Actor(RayTrainWorker, 9f), metadata=(pid=1, ),\n log_file_path='/tmp/worker.log',\n)"
    failed = of_crash(RuntimeError(f"A worker health check failed.\nWorker info: {worker}\nIt was killed."))
    assert failed.notes == ("Ray reports: RuntimeError: A worker health check failed. It was killed.",)


def test_a_worker_that_the_kernel_killed_for_memory():
    killed = of_crash(RuntimeError("The actor died."), kills=MemoryKills(1, 1))
    assert killed.reason is ReasonCode.HOST_OOM
    assert killed.notes[0].startswith("Shortly before the end, the kernel killed 1 process of the service")
    # Somewhere on the machine: that need not have been this run, which may try again.
    perhaps = of_crash(RuntimeError("The actor died."), kills=MemoryKills(0, 2))
    assert (perhaps.reason, perhaps.cause) == (ReasonCode.WORKER_CRASHED, FailureCause.HOST_MEMORY)


def test_a_machine_that_is_lost_explains_more_than_the_kernel_of_this_one():
    lost = of_crash(RuntimeError("NodeDiedError: gone"), kills=MemoryKills(1, 1))
    assert lost.reason is ReasonCode.NODE_LOST
