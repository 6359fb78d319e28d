"""Whose turn it is."""

from datetime import timedelta

from cluster.policy import Share, Situation
from cluster.policy.order import fair_order
from tests.unit.cluster.policy.builders import FOUR_CORES, NOW, cores, fleet, gpus, queued, running


def order(queue, *runs, machines=FOUR_CORES, **shares: Share) -> list[str]:
    return [job.id for job in fair_order(queue, machines, Situation(NOW, runs, shares))]


def test_one_owner_goes_by_submit_order():
    assert order([queued(name) for name in "abc"]) == ["a", "b", "c"]


def test_priority_comes_before_everything():
    queue = [queued("low", priority=10, is_in_front=True), queued("high", priority=90, owner="bob"), queued("mid")]
    assert order(queue, bob=Share(device_s=1e9)) == ["high", "mid", "low"]


def test_owners_take_turns():
    queue = [queued(f"a{number}") for number in range(3)] + [queued(f"b{number}", owner="bob") for number in range(2)]
    assert order(queue) == ["a0", "b0", "a1", "b1", "a2"]


def test_who_has_used_less_goes_first():
    queue = [queued("a0"), queued("a1"), queued("b0", owner="bob"), queued("b1", owner="bob")]
    assert order(queue, ann=Share(device_s=601)) == ["b0", "b1", "a0", "a1"]
    assert order(queue, ann=Share(device_s=599)) == ["b0", "a0", "b1", "a1"]


def test_an_owner_of_weight_two_gets_two_turns():
    queue = [queued(f"a{number}") for number in range(4)] + [queued(f"b{number}", owner="bob") for number in range(2)]
    assert order(queue, ann=Share(weight=2)) == ["a0", "b0", "a1", "a2", "b1", "a3"]


def test_an_owner_of_weight_zero_comes_last_but_comes():
    queue = [queued("a0"), queued("a1"), queued("b0", owner="bob")]
    assert order(queue, ann=Share(device_s=1, weight=0)) == ["b0", "a0", "a1"]


def test_what_runs_counts_as_used():
    queue = [queued("a0"), queued("b0", owner="bob")]
    long_run, short_run = running("r1", cores(2), ran_s=300), running("r2", cores(1), ran_s=300, owner="bob")
    assert order(queue, long_run, short_run) == ["b0", "a0"]
    assert order(queue, short_run) == ["a0", "b0"]


def test_a_run_on_all_cores_counts_like_one_on_all_gpus():
    queue = [queued("a0"), queued("b0", owner="bob")]
    on_cores, on_gpus = running("r1", cores(8), ran_s=90), running("r2", gpus(2), ran_s=100, owner="bob")
    assert order(queue, on_cores, on_gpus, machines=fleet((8, 2))) == ["a0", "b0"]


def test_who_was_moved_to_the_front_goes_before_fair_shares():
    queue = [queued("b1", owner="bob", is_in_front=True), queued("a0"), queued("b0", owner="bob")]
    assert order(queue, bob=Share(device_s=1e6)) == ["b1", "a0", "b0"]
    assert order(queue, ann=Share(device_s=300)) == ["b1", "a0", "b0"], "its turn counts"


def test_turns_count_in_lower_priorities_too():
    queue = [queued("a0", priority=90), queued("a1"), queued("b0", owner="bob")]
    assert order(queue) == ["a0", "b0", "a1"]


def test_a_clock_that_was_set_back_takes_nothing_away():
    later = running("r1", cores(1), ran_s=-timedelta(hours=1).total_seconds())
    assert order([queued("a0"), queued("b0", owner="bob")], later) == ["a0", "b0"]
