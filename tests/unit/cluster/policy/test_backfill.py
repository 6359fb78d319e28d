"""Who may start although somebody ahead waits."""

import math

import pytest

from cluster.policy import Fleet, Spot
from cluster.policy.backfill import Release, Timeline, Waiting, machines_needed
from cluster.policy.free_devices import Room
from tests.unit.cluster.policy.builders import TWO_GPUS, cores, fleet, gpus, look, queued, running, started, words_of

EIGHT = Fleet.of_one(8)


def head(**fields):
    return queued("head", cpus_per_worker=8, **fields)


def test_a_short_job_starts_when_it_ends_before_the_first_that_waits_can_start():
    queue = [head(), queued("short", cpus_per_worker=4, longest_s=600)]
    assert started(look(queue, EIGHT, running("r", cores(4), remaining_s=600))) == ["short"]
    assert started(look(queue, EIGHT, running("r", cores(4), remaining_s=599))) == []


def test_a_job_without_a_time_limit_does_not_start_where_it_might_be_in_the_way():
    queue = [head(), queued("endless", cpus_per_worker=4)]
    assert started(look(queue, EIGHT, running("r", cores(4), remaining_s=600))) == []


def test_nobody_starts_where_it_is_not_known_when_the_first_can_start():
    queue = [head(), queued("short", cpus_per_worker=1, longest_s=1)]
    decisions = look(queue, EIGHT, running("r", cores(4)))
    assert words_of(decisions) == {
        "head": "Waiting for 8 CPU cores; 4 are free.",
        "short": "Waiting for 1 job ahead of it.",
    }


def test_devices_that_are_left_over_when_the_first_starts_may_be_taken_for_ever():
    """At the end of the run 8 cores are free; the first takes 6."""
    queue = [queued("head", cpus_per_worker=6), queued("two", cpus_per_worker=2), queued("one", cpus_per_worker=1)]
    assert started(look(queue, EIGHT, running("r", cores(4), remaining_s=600))) == ["two"]


def test_the_first_starts_as_soon_as_enough_runs_have_ended():
    """8 cores: free 2, then 4 after 100 s, 8 after 500 s. The first needs 4 of them."""
    runs = [running("r1", cores(2), remaining_s=100), running("r2", cores(4), remaining_s=500)]
    queue = [queued("head", cpus_per_worker=4), queued("next", cpus_per_worker=2, longest_s=100)]
    assert started(look(queue, EIGHT, *runs)) == ["next"]
    queue = [queued("head", cpus_per_worker=4), queued("next", cpus_per_worker=2, longest_s=101)]
    assert started(look(queue, EIGHT, *runs)) == []


def test_what_stops_is_kept_for_the_first():
    queue = [head(), queued("short", cpus_per_worker=1, longest_s=60)]
    assert started(look(queue, EIGHT, running("r", cores(4), is_stopping=True))) == []


def test_the_second_that_waits_is_not_delayed_either():
    """Free 2 now, 8 after 1000 s. The head takes 8 from then on for 1000 s, then the second its 8."""
    runs = [running("r", cores(6), remaining_s=1000)]
    queue = [
        head(longest_s=1000),
        queued("second", cpus_per_worker=8),
        queued("short", cpus_per_worker=2, longest_s=1e3),
    ]
    assert started(look(queue, EIGHT, *runs)) == ["short"]
    queue = [
        head(longest_s=1000),
        queued("second", cpus_per_worker=4),
        queued("long", cpus_per_worker=2, longest_s=2e3),
    ]
    assert started(look(queue, EIGHT, *runs)) == []


def test_what_nobody_knows_the_start_of_is_promised_nothing_before_the_first_has_started():
    """The second waits for the head, which has no time limit. Until that starts, a short job is in nobody's way."""
    runs = [running("r", cores(4), remaining_s=1000)]
    queue = [head(), queued("second", cpus_per_worker=4)]
    assert started(look([*queue, queued("short", cpus_per_worker=4, longest_s=1e3)], EIGHT, *runs)) == ["short"]
    assert started(look([*queue, queued("long", cpus_per_worker=1, longest_s=1001)], EIGHT, *runs)) == []


def test_jobs_beyond_the_reservations_are_protected_too():
    waiting = [queued(f"w{number}", cpus_per_worker=8) for number in range(12)]
    queue = [*waiting, queued("endless", cpus_per_worker=1)]
    assert started(look(queue, EIGHT, running("r", cores(4), remaining_s=60))) == []


def test_a_job_on_cores_starts_beside_one_that_waits_for_gpus():
    """However the GPUs become free, cores are not what it waits for."""
    machines = Fleet.of_one(16, 2)
    queue = [queued("head", num_workers=2, cpus_per_worker=4), queued("cpu", gpus_per_worker=0, cpus_per_worker=6)]
    assert started(look(queue, machines, running("r", gpus(1, cpus=1)))) == ["cpu"]


def test_it_does_not_when_cores_could_become_what_it_waits_for():
    machines = Fleet.of_one(16, 2)
    queue = [queued("head", num_workers=2, cpus_per_worker=4), queued("cpu", gpus_per_worker=0, cpus_per_worker=8)]
    assert started(look(queue, machines, running("r", gpus(1, cpus=1)))) == []


def test_every_job_that_waits_is_counted_when_cores_are_left():
    """9 cores are left beside the two GPUs that are taken: enough for the first, not for the first and the second."""
    runs = [running("r1", gpus(1), owner="x"), running("r2", gpus(1), owner="x")]
    queue = [queued("w1", cpus_per_worker=4), queued("w2", cpus_per_worker=4)]
    beside = queued("cpu", gpus_per_worker=0, cpus_per_worker=2)
    assert started(look([*queue, beside], Fleet.of_one(11, 2), *runs)) == []
    assert started(look([queue[0], beside], Fleet.of_one(11, 2), *runs)) == ["cpu"]
    assert started(look([*queue, beside], Fleet.of_one(12, 2), *runs)) == ["cpu"]


def test_a_machine_that_is_of_no_use_to_the_first_may_be_taken():
    machines = fleet((8, 2), (4, 0))
    queue = [queued("head", num_workers=2, cpus_per_worker=4), queued("cpu", gpus_per_worker=0, cpus_per_worker=4)]
    runs = [running("r", gpus(1), placement=(Spot("m0", 0),))]
    decisions = look(queue, machines, *runs)
    assert started(decisions) == ["cpu"]
    assert decisions[1].placement == (Spot("m1"),)  # type: ignore[union-attr]


def test_another_machine_is_tried_when_the_tightest_is_needed():
    """The job would fit tightest on m0, which the first may need; m1 is too small for the first."""
    machines = fleet((4, 0), (3, 1))
    queue = [queued("head", gpus_per_worker=0, cpus_per_worker=4), queued("next", gpus_per_worker=0, cpus_per_worker=2)]
    decisions = look(queue, machines, running("r", cores(1), placement=(Spot("m0"),)))
    assert started(decisions) == ["next"]
    assert decisions[1].placement == (Spot("m1"),)  # type: ignore[union-attr]


def test_two_short_jobs_that_fit_one_by_one_do_not_both_start():
    queue = [head(), *(queued(name, cpus_per_worker=3, longest_s=100) for name in "ab")]
    assert started(look(queue, EIGHT, running("r", cores(4), remaining_s=100))) == ["a"]


def test_a_share_of_a_gpu_starts_only_where_it_leaves_the_first_its_gpu():
    runs = [running("r", gpus(1), placement=(Spot("node", 0),), remaining_s=100)]
    queue = [queued("head", num_workers=2), queued("share", gpus_per_worker=0.5, longest_s=100)]
    assert started(look(queue, TWO_GPUS, *runs)) == ["share"]
    queue = [queued("head", num_workers=2), queued("share", gpus_per_worker=0.5, longest_s=101)]
    assert started(look(queue, TWO_GPUS, *runs)) == []


def room(*free: int) -> Room:
    return Room.of(fleet(*((cpus, 0) for cpus in free)))


def test_a_reservation_takes_the_first_gap_that_is_long_enough():
    timeline = Timeline(room(2), [Release(100, cores(2), (Spot("m0"),)), Release(300, cores(4), (Spot("m0"),))])
    assert timeline.reserve(Waiting(cores(4), 150)) == 100
    assert timeline.reserve(Waiting(cores(5), 10)) == 300
    assert timeline.reserve(Waiting(cores(4), 51)) == 310, "from 250 on it would have only 50 s"
    assert timeline.reserve(Waiting(cores(4), 50)) == 250
    assert timeline.reserve(Waiting(cores(9), 1)) is None


@pytest.mark.parametrize(("until", "cpus"), [(50, 2), (100, 2), (101, 0), (math.inf, 0)])
def test_what_is_free_without_a_break(until, cpus):
    timeline = Timeline(room(2), [Release(100, cores(2), (Spot("m0"),))])
    timeline.reserve(Waiting(cores(4), 10))
    assert timeline.free_until(until).nodes["m0"].cpus == cpus


def test_only_jobs_without_a_reservation_need_machines():
    placed = (Spot("m0"),)
    waiting = [Waiting(cores(4), math.inf), Waiting(cores(3), math.inf)]
    assert machines_needed(cores(1), placed, room(6), room(8), waiting, num_reserved=0) == {"m0"}
    assert machines_needed(cores(1), placed, room(7), room(8), waiting, num_reserved=0) == set()
    assert machines_needed(cores(1), placed, room(3), room(8), waiting, num_reserved=2) == set()
