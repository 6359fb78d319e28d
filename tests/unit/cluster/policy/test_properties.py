"""What holds for every queue, every machine and every course of events.

`POLICY_EXAMPLES=2000` makes it a long search.
"""

import math
import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.policy import (
    Fleet,
    Node,
    Preempt,
    QueuedJob,
    Refuse,
    RunningJob,
    Share,
    Situation,
    Start,
    Wait,
    decide,
    shape_of,
)
from cluster.policy.backfill import Release, Timeline, Waiting
from cluster.policy.free_devices import Room, place
from ftlab.schemas import JobConfig, Resources
from tests.unit.cluster.policy.builders import NOW, cores, queued, room_after, running
from tests.unit.cluster.policy.simulation import SimulatedJob, Simulation

NUM_EXAMPLES = int(os.environ.get("POLICY_EXAMPLES", "120"))

nodes = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=3)
fleets = nodes.map(lambda sizes: Fleet(tuple(Node(f"m{n}", cpus, gpus) for n, (cpus, gpus) in enumerate(sizes))))
owners = st.sampled_from(["ann", "bob", "cid"])
priorities = st.sampled_from([10, 50, 90])
lasts = st.one_of(st.none(), st.integers(60, 5000).map(float))


@st.composite
def resources(draw) -> Resources:
    num_workers = draw(st.sampled_from([1, 1, 1, 2, 3]))
    shares = [None, 0, 1] if num_workers > 1 else [None, 0, 0.25, 0.5, 1]
    return Resources(
        num_workers=num_workers,
        cpus_per_worker=draw(st.one_of(st.none(), st.integers(1, 4))),
        gpus_per_worker=draw(st.sampled_from(shares)),
    )


@st.composite
def queues(draw, max_size: int = 10) -> list[QueuedJob]:
    jobs = []
    for number in range(draw(st.integers(0, max_size))):
        config = JobConfig(model="org/name", dataset="ds-1", resources=draw(resources()))
        front, has_run = draw(st.booleans()), draw(st.booleans())
        jobs.append(QueuedJob(f"q{number}", draw(owners), config, draw(priorities), front, has_run, draw(lasts)))
    return sorted(jobs, key=lambda job: (-job.priority, not job.is_in_front))


@st.composite
def situations(draw, machines: Fleet) -> Situation:
    room, runs = Room.of(machines), []
    for number in range(draw(st.integers(0, 8))):
        shape = shape_of(draw(resources()), machines)
        placement = place(shape, room)
        if placement is None:
            continue
        room = room.without(shape, placement)
        run = RunningJob(
            id=f"r{number}",
            attempt=1,
            owner=draw(owners),
            shape=shape,
            started_at=running("", shape, ran_s=draw(st.integers(0, 3000))).started_at,
            priority=draw(priorities),
            placement=placement if draw(st.booleans()) else (),
            preemptible=draw(st.booleans()),
            remaining_s=draw(lasts),
            is_stopping=draw(st.sampled_from([False, False, False, True])),
        )
        runs.append(run)
    shares = {
        owner: Share(
            draw(st.integers(0, 5000)),
            draw(st.sampled_from([0.5, 1, 2])),
            draw(st.sampled_from([None, None, 1, 2])),
            draw(st.sampled_from([None, None, 3, 6])),
        )
        for owner in ("ann", "bob")
    }
    return Situation(NOW, tuple(runs), shares)


@st.composite
def worlds(draw) -> tuple[list[QueuedJob], Fleet, Situation]:
    machines = draw(fleets)
    return draw(queues()), machines, draw(situations(machines))


@st.composite
def contended(draw) -> tuple[list[QueuedJob], Fleet, Situation]:
    """One large job ahead of small ones."""
    machines = draw(nodes.map(lambda sizes: Fleet(tuple(Node(f"m{n}", 6 + c, g) for n, (c, g) in enumerate(sizes)))))
    large = Resources(
        num_workers=draw(st.integers(1, len(machines.nodes))),
        cpus_per_worker=draw(st.integers(2, 8)),
        gpus_per_worker=draw(st.sampled_from([None, 0, 1])),
    )
    first = QueuedJob("first", "cid", JobConfig(model="org/name", dataset="ds-1", resources=large), 99)
    return [first, *draw(queues())], machines, draw(situations(machines))


def seated(situation: Situation, machines: Fleet) -> list[tuple]:
    """Every run with a place, those without a known one where there is room for them."""
    taken = [(run.shape, run.placement) for run in situation.running if run.placement]
    for run in situation.running:
        if not run.placement:
            taken.append((run.shape, place(run.shape, room_after(machines, *taken)) or ()))
    return taken


@settings(deadline=None, max_examples=NUM_EXAMPLES)
@given(worlds())
def test_every_pass_keeps_the_rules(world):
    queue, machines, situation = world
    decisions = decide(queue, machines, situation)
    assert decisions == decide(queue, machines, situation), "the same arguments give the same answer"
    assert sorted(decision.job_id for decision in decisions) == sorted(job.id for job in queue)
    jobs = {job.id: job for job in queue}
    in_line = [jobs[decision.job_id] for decision in decisions]
    assert [job.priority for job in in_line] == sorted((job.priority for job in queue), reverse=True)
    for owner in ("ann", "bob", "cid"):
        plain = [job.id for job in queue if job.owner == owner and not job.is_in_front and job.priority == 50]
        assert [job.id for job in in_line if job.id in plain] == plain, "an owner's jobs keep their order"
    for decision in decisions:
        never_fits = place(shape_of(jobs[decision.job_id].config.resources, machines), Room.of(machines)) is None
        assert isinstance(decision, Refuse) == (never_fits and not jobs[decision.job_id].has_run)
        assert isinstance(decision, Start) or decision.why.endswith(".")
    _check_quotas(decisions, jobs, situation)
    assert sum(isinstance(decision, Preempt) for decision in decisions) <= 1


def _check_quotas(decisions, jobs, situation) -> None:
    started = [decision for decision in decisions if isinstance(decision, Start)]
    for owner, share in situation.shares.items():
        new = [start.shape.total for start in started if jobs[start.job_id].owner == owner]
        held = new + [run.shape.total for run in situation.running if run.owner == owner]
        if any(devices.gpus for devices in new) and share.max_running_gpus is not None:
            assert sum(devices.gpus for devices in held) <= share.max_running_gpus
        if new and share.max_running_cpus is not None:
            assert sum(devices.cpus for devices in held) <= share.max_running_cpus


@settings(deadline=None, max_examples=NUM_EXAMPLES)
@given(worlds())
def test_no_device_is_given_twice(world):
    queue, machines, situation = world
    placed = replace(situation, running=tuple(run for run in situation.running if run.placement))
    taken = seated(placed, machines)
    for decision in decide(queue, machines, placed):
        if isinstance(decision, Start):
            taken.append((decision.shape, decision.placement))
            room_after(machines, *taken)


@settings(deadline=None, max_examples=NUM_EXAMPLES)
@given(st.one_of(worlds(), contended()))
def test_who_starts_behind_one_that_waits_cannot_delay_it(world):
    """Checked in a way of its own: the first job that waits starts no later than it would if nobody overtook it.

    That is so at the limits of all runs, and where no limits are known, for every order in which runs may end.
    """
    queue, machines, situation = world
    placed = replace(situation, running=tuple(run for run in situation.running if run.placement))
    decisions = decide(queue, machines, placed)
    jobs = {job.id: job for job in queue}
    first = next((d for d in decisions if isinstance(d, Wait | Preempt) and _waits_for_devices(d)), None)
    if first is None:
        return
    shape = shape_of(jobs[first.job_id].config.resources, machines)
    victims = first.victims if isinstance(first, Preempt) else ()
    number = decisions.index(first)
    before = [d for d in decisions[:number] if isinstance(d, Start)]
    behind = [d for d in decisions[number:] if isinstance(d, Start)]
    ends = [
        (0.0 if run.is_stopping or run.id in victims else run.remaining_s, run.shape, run.placement)
        for run in placed.running
    ]
    ends += [(jobs[d.job_id].longest_s, d.shape, d.placement) for d in before]
    overtaking = [(jobs[d.job_id].longest_s, d.shape, d.placement) for d in behind]
    assert _start_at_limits(shape, machines, ends + overtaking) <= _start_at_limits(shape, machines, ends)
    if _start_at_limits(shape, machines, ends) == math.inf:
        for gone in range(2 ** len(ends)):
            left = [(shape_, place_) for n, (_, shape_, place_) in enumerate(ends) if not gone >> n & 1]
            alone = place(shape, room_after(machines, *left)) is not None
            beside = room_after(machines, *left, *((shape_, place_) for _, shape_, place_ in overtaking))
            assert not alone or place(shape, beside) is not None


def _waits_for_devices(decision: Wait | Preempt) -> bool:
    return not decision.why.startswith("Waiting for the quota") and "the available machines" not in decision.why


def _start_at_limits(shape, machines: Fleet, ends) -> float:
    """When a job of this shape can start if each run lasts as long as it may."""
    for at_s in sorted({0.0} | {end for end, _, _ in ends if end is not None}):
        left = [(shape_, place_) for end, shape_, place_ in ends if end is None or end > at_s]
        if place(shape, room_after(machines, *left)) is not None:
            return at_s
    return math.inf


@settings(deadline=None, max_examples=NUM_EXAMPLES)
@given(st.one_of(worlds(), contended()))
def test_nobody_waits_while_a_lower_job_that_is_no_smaller_starts_in_its_place(world):
    """Except where it is proven that this does not matter: then the lower one has a time limit."""
    queue, machines, situation = world
    decisions = decide(queue, machines, situation)
    jobs = {job.id: job for job in queue}
    waiting: list[QueuedJob] = []
    for decision in decisions:
        job = jobs[decision.job_id]
        if isinstance(decision, Wait | Preempt) and _waits_for_devices(decision):
            waiting.append(job)
        elif isinstance(decision, Start):
            for ahead in waiting:
                wanted = shape_of(ahead.config.resources, machines)
                could_take = place(wanted, Room.of(machines).without(decision.shape, decision.placement)) is None
                is_as_large = (
                    wanted.num_workers == decision.shape.num_workers
                    and wanted.cpus_per_worker <= decision.shape.cpus_per_worker
                    and wanted.gpus_per_worker <= decision.shape.gpus_per_worker
                )
                assert not (is_as_large and could_take) or job.longest_s is not None


endings = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 4)), max_size=6)
reservations = st.lists(st.tuples(st.integers(1, 8), st.one_of(st.just(math.inf), st.integers(1, 60))), max_size=6)


@settings(deadline=None)
@given(free=st.integers(0, 4), ends=endings, wanted=reservations)
def test_reservations_never_take_more_than_there_will_be(free, ends, wanted):
    """Compared with a calendar that keeps a number for every second."""
    start = Room.of(Fleet((Node("m", free, 0),)))
    place_of_one = place(cores(1), Room.of(Fleet((Node("m", 1, 0),))))
    assert place_of_one is not None
    timeline = Timeline(start, [Release(at, cores(count), place_of_one) for at, count in ends])
    horizon = 600
    calendar = [free + sum(count for at, count in ends if at <= second) for second in range(horizon)]
    for count, lasts_s in wanted:
        begin = timeline.reserve(Waiting(cores(count), lasts_s))
        possible = [
            second
            for second in range(horizon - 100)
            if all(left >= count for left in calendar[second : min(horizon, int(min(second + lasts_s, horizon)))])
        ]
        assert begin == (possible[0] if possible else None)
        if begin is not None:
            for second in range(int(begin), int(min(begin + lasts_s, horizon))):
                calendar[second] -= count


@st.composite
def simulated(draw, *, with_limits: bool) -> list[SimulatedJob]:
    jobs = []
    for number in range(draw(st.integers(1, 14))):
        config = JobConfig(model="org/name", dataset="ds-1", resources=draw(resources()))
        trains_s = float(draw(st.integers(10, 2000)))
        limited = with_limits and draw(st.booleans())
        longest_s = trains_s + draw(st.integers(0, 500)) if limited else None
        job = QueuedJob(f"j{number:02}", draw(owners), config, draw(priorities), has_run=True, longest_s=longest_s)
        jobs.append(SimulatedJob(job, trains_s, draw(st.booleans()), float(draw(st.integers(0, 1500)))))
    return jobs


@settings(deadline=None, max_examples=NUM_EXAMPLES // 2)
@given(machines=fleets, data=st.data())
def test_every_job_comes_to_its_turn(machines, data):
    jobs = data.draw(simulated(with_limits=True))
    fitting = [j for j in jobs if place(shape_of(j.job.config.resources, machines), Room.of(machines)) is not None]
    simulation = Simulation(machines, fitting)
    simulation.run()
    for job in fitting:
        assert job.num_preempted <= job.trains_s / 120, "two minutes of training between two preemptions"
        assert job.preemptible or job.num_preempted == 0


@settings(deadline=None, max_examples=NUM_EXAMPLES // 2)
@given(machines=fleets, data=st.data())
def test_the_first_that_waits_starts_when_it_was_promised(machines, data):
    """Everybody is there from the beginning with one priority and one owner, so nobody comes in between."""
    jobs = [
        SimulatedJob(replace(job.job, priority=50, owner="ann"), job.trains_s)
        for job in data.draw(simulated(with_limits=True))
        if place(shape_of(job.job.config.resources, machines), Room.of(machines)) is not None
    ]
    simulation = Simulation(machines, jobs)
    promised: dict[str, float] = {}
    step = simulation.step

    def watched():
        decisions = step()
        first = next((d for d in decisions if isinstance(d, Wait)), None)
        if first is not None:
            [job] = [job for job in jobs if job.job.id == first.job_id]
            seen = map(simulation.seen, simulation.runs.values())
            ends = [(run.remaining_s, run.shape, run.placement) for run in seen]
            at_s = simulation.now_s + _start_at_limits(shape_of(job.job.config.resources, machines), machines, ends)
            promised[first.job_id] = min(at_s, promised.get(first.job_id, math.inf))
        return decisions

    simulation.step = watched  # type: ignore[method-assign]
    simulation.run()
    for name, at_s in promised.items():
        assert simulation.starts_s[name] <= at_s + 1e-6


@pytest.mark.parametrize(("weights", "ratio"), [((1, 1), 1.0), ((3, 1), 3.0), ((1, 4), 0.25)])
def test_shares_come_out_as_their_weights(weights, ratio):
    jobs = [
        SimulatedJob(queued(f"{owner}-{number:03}", owner=owner, cpus_per_worker=1), trains_s=100.0 + 7 * (number % 5))
        for owner in ("ann", "bob")
        for number in range(150)
    ]
    shares = dict(zip(("ann", "bob"), (Share(weight=weight) for weight in weights), strict=True))
    simulation = Simulation(Fleet.of_one(4), jobs, shares)
    simulation.queue = list(jobs)
    while all(sum(job.job.owner == owner for job in simulation.queue) > 10 for owner in ("ann", "bob")):
        simulation.step()
        simulation.now_s = min(run.ends_s for run in simulation.runs.values())
        for run in [run for run in simulation.runs.values() if run.ends_s <= simulation.now_s]:
            simulation._end(run)
    assert simulation.device_s["ann"] / simulation.device_s["bob"] == pytest.approx(ratio, rel=0.1)
