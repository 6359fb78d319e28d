"""One pass over the queue: starts, refusals, quotas, and the sentences."""

import pytest

from cluster.policy import Fleet, Refuse, Share, Spot, Start, Wait, WorkerShape
from tests.unit.cluster.policy.builders import (
    FOUR_CORES,
    TWO_GPUS,
    cores,
    fleet,
    gpus,
    look,
    queued,
    running,
    started,
    words_of,
)


def test_an_empty_queue_decides_nothing():
    assert look([], FOUR_CORES) == []


def test_jobs_start_in_their_order_as_long_as_they_fit():
    assert look([queued(name, cpus_per_worker=2) for name in "abc"], FOUR_CORES) == [
        Start("a", WorkerShape(1, 2, 0), (Spot("node"),)),
        Start("b", WorkerShape(1, 2, 0), (Spot("node"),)),
        Wait("c", "Waiting for 2 CPU cores; none is free."),
    ]


def test_nobody_overtakes_the_first_that_waits():
    queue = [queued("large", cpus_per_worker=4), queued("small", cpus_per_worker=1), queued("other", cpus_per_worker=1)]
    assert look(queue, FOUR_CORES, running("r", cores(2))) == [
        Wait("large", "Waiting for 4 CPU cores; 2 are free."),
        Wait("small", "Waiting for 1 job ahead of it."),
        Wait("other", "Waiting for 2 jobs ahead of it."),
    ]


def test_a_job_that_never_fits_is_refused_and_holds_nobody_up():
    refuse, start = look([queued("huge", cpus_per_worker=5), queued("small", cpus_per_worker=1)], FOUR_CORES)
    assert refuse == Refuse(
        "huge", "The job needs 5 CPU cores; this machine gives 4 CPU cores for training. Request less."
    )
    assert isinstance(start, Start)


def test_a_job_that_never_fits_is_refused_behind_one_that_waits():
    kinds = [
        type(d) for d in look([queued("first"), queued("huge", num_workers=5)], FOUR_CORES, running("r", cores(4)))
    ]
    assert kinds == [Wait, Refuse]


def test_more_gpus_than_there_are_is_refused_in_gpus():
    [refuse] = look([queued("a", num_workers=3)], TWO_GPUS)
    assert isinstance(refuse, Refuse)
    assert refuse.why.startswith("The job needs 3 GPUs and 3 CPU cores; this machine gives 2 GPUs and 8 CPU cores")


def test_several_machines_refuse_by_what_fits_on_each():
    why = "The job needs 3 workers with 3 CPU cores each; the 2 machines have room for 2. Request less."
    assert words_of(look([queued("a", num_workers=3, cpus_per_worker=3)], fleet((5, 0), (5, 0)))) == {"a": why}


def test_a_job_that_has_run_here_waits_for_its_machines_to_come_back():
    queue = [queued("a", has_run=True, num_workers=3), queued("b")]
    assert look(queue, TWO_GPUS)[0] == Wait(
        "a", "Waiting for 3 GPUs and 3 CPU cores; the available machines offer 2 GPUs and 8 CPU cores."
    )
    assert started(look(queue, TWO_GPUS)) == ["b"], "and holds nobody up"


def test_without_a_machine_nobody_is_refused():
    assert words_of(look([queued("a")], Fleet(()))) == {"a": "Waiting for 1 CPU core; no machine is available."}


def test_a_machine_that_became_smaller_leaves_nothing_free():
    [wait] = look([queued("a", cpus_per_worker=1)], Fleet.of_one(2), running("r", cores(4)))
    assert wait == Wait("a", "Waiting for 1 CPU core; none is free.")


@pytest.mark.parametrize(
    ("asked", "machines", "runs", "why"),
    [
        ({"num_workers": 2}, TWO_GPUS, [gpus(1)], "Waiting for 2 GPUs; 1 is free."),
        ({}, TWO_GPUS, [gpus(2)], "Waiting for 1 GPU; none is free."),
        ({}, Fleet.of_one(8, 1), [gpus(1, share=0.5)], "Waiting for 1 GPU; none is free."),
        ({"gpus_per_worker": 0.5}, Fleet.of_one(8, 1), [gpus(1)], "Waiting for 0.5 of a GPU; none is free."),
        ({"cpus_per_worker": 4}, TWO_GPUS, [cores(6)], "Waiting for 4 CPU cores; 2 are free."),
        (
            {"num_workers": 2, "cpus_per_worker": 3},
            fleet((5, 0), (5, 0)),
            [WorkerShape(1, 3, 0)],
            "Waiting for room for 2 workers with 3 CPU cores each; 1 is free.",
        ),
    ],
)
def test_what_is_missing_in_words(asked, machines, runs, why):
    given = [running(f"r{number}", shape) for number, shape in enumerate(runs)]
    assert words_of(look([queued("a", **asked)], machines, *given)) == {"a": why}


def test_runs_of_which_no_placement_is_known_hold_devices_all_the_same():
    decisions = look([queued("a"), queued("b")], TWO_GPUS, running("r", gpus(1)))
    assert started(decisions) == ["a"]
    placed = running("p", gpus(1), placement=(Spot("node", 1),))
    [start, _] = look([queued("a"), queued("b")], TWO_GPUS, placed)
    assert isinstance(start, Start)
    assert start.placement == (Spot("node", 0),)


def test_an_owner_over_quota_waits_and_others_do_not():
    queue = [queued("a1", cpus_per_worker=2), queued("a2", cpus_per_worker=1), queued("b", owner="bob", num_workers=1)]
    decisions = look(queue, Fleet.of_one(8), running("r", cores(3)), shares={"ann": Share(max_running_cpus=4)})
    assert words_of(decisions)["a1"] == (
        "Waiting for the quota: jobs of this owner may use 4 CPU cores at once and are using 3."
    )
    assert words_of(decisions)["a2"] == "Waiting for the quota: an earlier job of the same owner waits for it too."


def test_what_starts_in_the_same_pass_counts_for_the_quota():
    queue = [queued(name, gpus_per_worker=0.5) for name in "abc"]
    decisions = look(queue, TWO_GPUS, shares={"ann": Share(max_running_gpus=1)})
    assert started(decisions) == ["a", "b"]
    assert words_of(decisions) == {
        "c": "Waiting for the quota: jobs of this owner may use 1 GPU at once and are using 1."
    }


def test_a_job_larger_than_its_owners_quota_holds_nobody_up():
    queue = [queued("large", num_workers=2), queued("small")]
    decisions = look(queue, TWO_GPUS, shares={"ann": Share(max_running_gpus=1)})
    assert started(decisions) == ["small"]
    assert words_of(decisions)["large"].startswith("Waiting for the quota: jobs of this owner may use 1 GPU at once")


def test_a_quota_on_gpus_does_not_keep_jobs_without_one():
    queue = [queued("a", gpus_per_worker=0, cpus_per_worker=1)]
    assert started(look(queue, TWO_GPUS, shares={"ann": Share(max_running_gpus=0)})) == ["a"]
