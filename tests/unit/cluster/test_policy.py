"""Who runs next."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.policy import Decision, Devices, QueuedJob, Refuse, Start, Wait, WorkerShape, decide, shape_of
from ftlab.schemas import JobConfig, Resources

FOUR_CORES = Devices(4, 0)
TWO_GPUS = Devices(8, 2)


def queued(name: str, **resources: int) -> QueuedJob:
    config = JobConfig(model="org/name", dataset="ds-1", resources=Resources(**resources))
    return QueuedJob(name, config)


def kinds(decisions: list[Decision]) -> list[type[Decision]]:
    return [type(decision) for decision in decisions]


def test_an_empty_queue_decides_nothing():
    assert decide([], FOUR_CORES, FOUR_CORES) == []


def test_jobs_start_in_their_order_as_long_as_they_fit():
    queue = [queued(name, cpus_per_worker=2) for name in "abc"]
    assert decide(queue, FOUR_CORES, FOUR_CORES) == [
        Start("a", WorkerShape(1, 2, 0)),
        Start("b", WorkerShape(1, 2, 0)),
        Wait("c", "Waiting for 2 CPU cores; 0 CPU cores free."),
    ]


def test_nobody_overtakes_the_head_that_waits():
    queue = [queued("large", cpus_per_worker=4), queued("small", cpus_per_worker=1)]
    assert decide(queue, FOUR_CORES, Devices(2, 0)) == [
        Wait("large", "Waiting for 4 CPU cores; 2 CPU cores free."),
        Wait("small", "Waiting for the jobs ahead of it."),
    ]


def test_a_job_that_never_fits_is_refused_and_holds_nobody_up():
    queue = [queued("huge", cpus_per_worker=5), queued("small", cpus_per_worker=1)]
    refuse, start = decide(queue, FOUR_CORES, FOUR_CORES)
    assert refuse == Refuse(
        "huge", "The job needs 5 CPU cores; this machine gives 4 CPU cores to training. Ask for less."
    )
    assert start == Start("small", WorkerShape(1, 1, 0))


def test_a_job_that_never_fits_is_refused_behind_a_head_that_waits():
    queue = [queued("first"), queued("huge", num_workers=5)]
    assert kinds(decide(queue, FOUR_CORES, Devices(0, 0))) == [Wait, Refuse]


def test_more_gpus_than_there_are_is_refused_in_gpus():
    [refuse] = decide([queued("a", num_workers=3)], TWO_GPUS, TWO_GPUS)
    assert isinstance(refuse, Refuse)
    assert refuse.why.startswith("The job needs 3 GPUs and 3 CPU cores; this machine gives 2 GPUs and 8 CPU cores")


def test_devices_held_beyond_the_machine_leave_nothing_free():
    """The setting `cpus` was lowered while a job runs."""
    [wait] = decide([queued("a", cpus_per_worker=1)], Devices(2, 0), Devices(2, 0) - Devices(4, 0))
    assert wait == Wait("a", "Waiting for 1 CPU core; 0 CPU cores free.")


@pytest.mark.parametrize(
    ("asked", "machine", "shape"),
    [
        ({}, FOUR_CORES, WorkerShape(1, 4, 0)),
        ({"num_workers": 2}, FOUR_CORES, WorkerShape(2, 2, 0)),
        ({"num_workers": 3}, FOUR_CORES, WorkerShape(3, 1, 0)),
        ({"num_workers": 9}, FOUR_CORES, WorkerShape(9, 1, 0)),
        ({"cpus_per_worker": 3}, FOUR_CORES, WorkerShape(1, 3, 0)),
        ({}, TWO_GPUS, WorkerShape(1, 1, 1)),
        ({"num_workers": 2, "cpus_per_worker": 4}, TWO_GPUS, WorkerShape(2, 4, 1)),
        ({"gpus_per_worker": 0}, TWO_GPUS, WorkerShape(1, 8, 0)),
        ({"gpus_per_worker": 1}, FOUR_CORES, WorkerShape(1, 1, 1)),
    ],
)
def test_what_a_job_does_not_ask_for_is_filled_in(asked, machine, shape):
    assert shape_of(Resources(**asked), machine) == shape


@pytest.mark.parametrize(
    ("devices", "text"),
    [
        (Devices(0, 0), "0 CPU cores"),
        (Devices(1, 0), "1 CPU core"),
        (Devices(8, 1), "1 GPU and 8 CPU cores"),
        (Devices(0, 2), "2 GPUs"),
        (Devices(-2, 0), "0 CPU cores"),
    ],
)
def test_devices_in_words(devices, text):
    assert str(devices) == text


counts = st.integers(0, 6)
machines = st.builds(Devices, st.integers(1, 16), st.integers(0, 4))
requests = st.fixed_dictionaries(
    {"num_workers": st.integers(1, 6)},
    optional={"cpus_per_worker": st.integers(1, 20), "gpus_per_worker": st.integers(0, 1)},
)


@settings(deadline=None)
@given(machine=machines, held=st.builds(Devices, counts, counts), asked=st.lists(requests, max_size=12))
def test_the_queue_is_fair_and_never_takes_more_than_there_is(machine, held, asked):
    queue = [queued(f"job-{number}", **request) for number, request in enumerate(asked)]
    free = machine - held
    decisions = decide(queue, machine, free)

    assert [decision.job_id for decision in decisions] == [job.id for job in queue]
    started = [decision for decision in decisions if isinstance(decision, Start)]
    taken = sum((start.shape.total for start in started), Devices(0, 0))
    assert not started or free.covers(taken)
    for job, decision in zip(queue, decisions, strict=True):
        never_fits = not machine.covers(shape_of(job.config.resources, machine).total)
        assert isinstance(decision, Refuse) == never_fits
    fair = [kind for kind in kinds(decisions) if kind is not Refuse]
    assert fair == [Start] * len(started) + [Wait] * (len(fair) - len(started))
    if len(fair) > len(started):
        head = next(job for job, decision in zip(queue, decisions, strict=True) if isinstance(decision, Wait))
        assert not (free - taken).covers(shape_of(head.config.resources, machine).total)
