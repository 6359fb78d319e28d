"""Who makes room for a job of higher priority."""

from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.policy import Fleet, Preempt, Rules, RunningJob, Spot, Start, Wait
from cluster.policy import preemption as preemption_module
from cluster.policy.free_devices import Room, place
from tests.unit.cluster.policy.builders import (
    NOW,
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

EIGHT = Fleet.of_one(8)


def low(name: str, count: int = 2, **fields: Any) -> RunningJob:
    return running(name, cores(count), **({"priority": 10} | fields))


def victims(*runs: RunningJob, priority: int = 90, machines: Fleet = EIGHT, **asked: Any) -> tuple[str, ...] | None:
    [decision] = look([queued("high", priority=priority, **({"cpus_per_worker": 4} | asked))], machines, *runs)
    return decision.victims if isinstance(decision, Preempt) else None


def test_the_cheapest_set_that_is_enough_makes_room():
    runs = [low("long", 8 - 4, ran_s=5000), low("a", ran_s=200), low("b", ran_s=300)]
    assert victims(*runs) == ("a", "b")


def test_one_costs_less_than_two_restarts():
    """Each of the two has lost less since its start, but two runs have to come back."""
    runs = [low("long", 4, ran_s=420), low("a", ran_s=200), low("b", ran_s=200)]
    assert victims(*runs) == ("long",)


def test_what_was_saved_is_not_lost():
    saved = NOW - timedelta(seconds=10)
    runs = [low("old", 4, ran_s=9000, last_checkpoint_at=saved), low("young", 4, ran_s=200)]
    assert victims(*runs) == ("old",)


def test_a_checkpoint_of_an_attempt_before_saves_nothing_of_this_one():
    runs = [low("a", 4, ran_s=900, last_checkpoint_at=NOW - timedelta(days=1)), low("b", 4, ran_s=1000)]
    assert victims(*runs) == ("a",)


def test_nobody_goes_who_is_not_needed():
    runs = [low("small", 1, ran_s=130), low("a", 3, ran_s=200), low("b", 4, ran_s=300)]
    assert victims(*runs) == ("b",), "small and a are cheaper one by one, but not together"


def test_what_is_free_already_counts():
    assert victims(low("a", 3), low("b", 3, ran_s=200)) == ("b",)


@pytest.mark.parametrize(
    "fields",
    [{"preemptible": False}, {"priority": 90}, {"priority": 91}, {"ran_s": 119.0}],
    ids=["not preemptible", "same priority", "higher priority", "just started"],
)
def test_who_is_left_alone(fields: dict[str, Any]):
    assert victims(low("a", 8, **fields)) is None
    assert victims(low("a", 4, **fields), low("b", 4)) == ("b",)


def test_what_is_idle_makes_room_for_the_same_priority_too():
    idle = running("idle", cores(4), priority=50, is_idle=True, ran_s=1.0)
    assert victims(idle, low("a", 4), priority=50) == ("idle",), "nothing is lost with it"
    assert victims(idle, running("busy", cores(4), priority=50), priority=50) == ("idle",)
    assert victims(idle, running("busy", cores(4), priority=50), priority=49) is None


def test_a_run_may_be_moved_after_its_first_two_minutes():
    assert victims(low("a", 8, ran_s=120)) == ("a",)


def test_the_minimum_run_time_is_a_rule():
    decisions = look([queued("high", priority=90)], EIGHT, low("a", 8, ran_s=1), rules=Rules(min_run_s=0))
    assert isinstance(decisions[0], Preempt)


def test_nobody_goes_where_all_together_are_not_enough():
    assert victims(low("a"), low("b"), low("fixed", 4, preemptible=False), cpus_per_worker=5) is None


def test_nobody_goes_while_those_that_stop_make_enough_room():
    stopping = low("a", 4, is_stopping=True)
    [wait] = look([queued("high", priority=90, cpus_per_worker=4)], EIGHT, stopping, low("b", 4))
    assert wait == Wait("high", "Waiting for 4 CPU cores; a saves its work and makes room.")


def test_those_that_stop_count_when_more_is_needed():
    assert victims(low("a", 2, is_stopping=True), low("b", 2), low("c", 4), cpus_per_worker=4) == ("b",)


def test_only_the_first_that_waits_takes_devices_from_others():
    queue = [queued("first", priority=90, cpus_per_worker=8), queued("second", priority=80, cpus_per_worker=2)]
    decisions = look(queue, EIGHT, low("fixed", 1, preemptible=False), low("a", 7))
    assert [type(decision) for decision in decisions] == [Wait, Wait]


def test_what_makes_room_is_not_given_to_the_next():
    queue = [queued("high", priority=90, cpus_per_worker=6), queued("low", priority=10, cpus_per_worker=2)]
    decisions = look(queue, EIGHT, low("a", 4), low("b", 2))
    assert [type(decision) for decision in decisions] == [Preempt, Wait]


def test_what_is_free_beside_the_room_that_is_made_may_be_used():
    """8 cores: 2 are free, a gives back 4, of which the first needs all."""
    queue = [queued("high", priority=90, cpus_per_worker=4), queued("low", priority=10, cpus_per_worker=2)]
    runs = [low("a", 4), low("fixed", 2, preemptible=False)]
    assert [type(decision) for decision in look(queue, EIGHT, *runs)] == [Preempt, Start]


def test_the_sentences():
    decisions = look([queued("high", priority=90)], EIGHT, low("a", 8))
    assert words_of(decisions) == {"high": "Waiting for 8 CPU cores; a saves its work and makes room."}
    decisions = look([queued("high", priority=90)], EIGHT, *(low(name, 2) for name in "abcd"))
    assert words_of(decisions) == {"high": "Waiting for 8 CPU cores; 4 jobs save their work and make room."}


def test_shares_of_one_gpu_go_together_or_not_at_all():
    half = gpus(1, share=0.5)
    runs = [
        running("a0", half, priority=10, placement=(Spot("node", 0),), ran_s=300),
        running("b1", half, priority=10, placement=(Spot("node", 1),), ran_s=200),
        running("c0", half, priority=10, placement=(Spot("node", 0),), ran_s=200),
        running("d1", half, priority=10, placement=(Spot("node", 1),), ran_s=500),
    ]
    assert victims(*runs, machines=TWO_GPUS, cpus_per_worker=1) == ("c0", "a0")


def test_a_gang_takes_machines_that_fit():
    runs = [running(f"r{number}", cores(4), priority=10, placement=(Spot(f"m{number}"),)) for number in range(3)]
    machines = fleet((4, 0), (2, 0), (4, 0))
    assert victims(*runs, machines=machines, num_workers=2, cpus_per_worker=4) == ("r0", "r2")


def test_the_victims_do_not_take_the_devices_back():
    """They have a lower priority and wait behind the job that they made room for."""
    queue = [queued("high", priority=90, cpus_per_worker=8), queued("a", priority=10, is_in_front=True)]
    assert started(look(queue, EIGHT)) == ["high"]
    assert look([queued("a", priority=10, is_in_front=True)], EIGHT, running("high", cores(8), priority=90)) == [
        Wait("a", "Waiting for 8 CPU cores; none is free.")
    ]


small_runs = st.lists(
    st.tuples(
        st.integers(1, 3), st.integers(0, 2), st.integers(120, 2000), st.booleans(), st.sampled_from([10, 50, 90])
    ),
    max_size=7,
)


@settings(deadline=None)
@given(given_runs=small_runs, wanted=st.integers(1, 2), size=st.integers(1, 4))
def test_no_other_set_is_cheaper_and_nobody_is_in_it_without_need(given_runs, wanted, size):
    machines, room, runs = fleet((4, 0), (4, 0), (4, 0)), None, []
    room = Room.of(machines)
    for number, (count, node, ran_s, preemptible, priority) in enumerate(given_runs):
        spot = Spot(f"m{node}")
        if room.nodes[spot.node].cpus >= count:
            room = room.without(cores(count), (spot,))
            fields = {"priority": priority, "preemptible": preemptible, "placement": (spot,)}
            runs.append(running(f"r{number}", cores(count), ran_s=ran_s, **fields))
    shape = cores(size, num_workers=wanted)
    allowed = [run for run in runs if run.preemptible and run.priority < 60]

    def fits(gone) -> bool:
        left = room
        for run in gone:
            left = left.plus(run.shape, run.placement)
        return place(shape, left) is not None

    def cost(gone) -> float:
        return sum((NOW - run.started_at).total_seconds() + 60 for run in gone)

    sets = [gone for count in range(len(allowed) + 1) for gone in combinations(allowed, count) if fits(gone)]
    [decision] = look([queued("high", priority=60, num_workers=wanted, cpus_per_worker=size)], machines, *runs)
    assert isinstance(decision, Preempt) == (bool(sets) and not fits(()))
    if isinstance(decision, Preempt):
        gone = [run for run in runs if run.id in decision.victims]
        assert fits(gone)
        assert cost(gone) == min(map(cost, sets))
        assert not any(fits([other for other in gone if other is not run]) for run in gone)
        assert set(decision.victims) <= {run.id for run in allowed}


def test_a_search_that_is_cut_short_still_takes_nobody_without_need(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preemption_module, "SEARCH_STEPS", 1)
    runs = [low("small", 1, ran_s=130), low("a", 3, ran_s=200), low("b", 4, ran_s=300)]
    assert victims(*runs) == ("small", "a"), "the first that are enough"
    assert victims(*runs, cpus_per_worker=3) == ("a",), "small came first and is not needed"
