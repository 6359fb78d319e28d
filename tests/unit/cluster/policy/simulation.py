"""A service in fast motion: jobs arrive, the policy decides, runs end; every rule is checked at every decision."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from cluster.policy import Decision, Fleet, Preempt, QueuedJob, Rules, RunningJob, Share, Situation, Start, decide
from tests.unit.cluster.policy.builders import NOW, room_after

STOP_S = 5.0
"""What it takes a run to save and stop."""


@dataclass
class SimulatedJob:
    """A job and how long it really trains."""

    job: QueuedJob
    trains_s: float
    preemptible: bool = True
    arrives_s: float = 0.0
    trained_s: float = 0.0
    num_preempted: int = 0


@dataclass
class _Run:
    running: RunningJob
    ends_s: float
    is_preempted: bool = False


@dataclass
class Simulation:
    """Steps from one arrival or end to the next."""

    machines: Fleet
    jobs: Sequence[SimulatedJob]
    shares: dict[str, Share] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    now_s: float = 0.0
    runs: dict[str, _Run] = field(default_factory=dict)
    queue: list[SimulatedJob] = field(default_factory=list)
    starts_s: dict[str, float] = field(default_factory=dict)
    """When each job started first."""
    device_s: dict[str, float] = field(default_factory=dict)
    """Device-seconds of each owner, of runs that have ended."""
    num_ended: int = 0

    def run(self, max_steps: int = 10_000) -> None:
        """Until every job has ended; fails when it does not come to that."""
        coming = sorted(self.jobs, key=lambda job: job.arrives_s)
        for _ in range(max_steps):
            while coming and coming[0].arrives_s <= self.now_s:
                self.queue.append(coming.pop(0))
            self.step()
            ends = [run.ends_s for run in self.runs.values()]
            # A run that is too young to be moved is looked at again when it is not.
            ripe = [self._ran_since(run) + self.rules.min_run_s for run in self.runs.values()]
            moments = ends + [job.arrives_s for job in coming[:1]] + [at for at in ripe if at > self.now_s]
            if not moments:
                break
            self.now_s = min(moments)
            for run in [run for run in self.runs.values() if run.ends_s <= self.now_s]:
                self._end(run)
        assert not self.queue, f"never started: {[job.job.id for job in self.queue]}"
        assert self.num_ended == len(self.jobs)

    def step(self) -> list[Decision]:
        situation = Situation(self.at, tuple(map(self.seen, self.runs.values())), self._shares(), self.rules)
        queue = sorted((job.job for job in self.queue), key=lambda job: (-job.priority, not job.is_in_front))
        decisions = decide(queue, self.machines, situation)
        assert decisions == decide(queue, self.machines, situation), "the same arguments give the same answer"
        waiting = {job.job.id: job for job in self.queue}
        for decision in decisions:
            if isinstance(decision, Start):
                self._start(waiting[decision.job_id], decision)
            elif isinstance(decision, Preempt):
                self._preempt(waiting[decision.job_id], decision)
        room_after(self.machines, *((run.running.shape, run.running.placement) for run in self.runs.values()))
        return decisions

    def _start(self, job: SimulatedJob, start: Start) -> None:
        left_s = job.trains_s - job.trained_s
        running = RunningJob(
            id=job.job.id,
            attempt=job.num_preempted + 1,
            owner=job.job.owner,
            shape=start.shape,
            started_at=self.at,
            priority=job.job.priority,
            placement=start.placement,
            preemptible=job.preemptible,
            remaining_s=job.job.longest_s,
        )
        assert job.job.longest_s is None or left_s <= job.job.longest_s
        self.runs[job.job.id] = _Run(running, self.now_s + left_s)
        self.starts_s.setdefault(job.job.id, self.now_s)
        self.queue.remove(job)

    def _preempt(self, job: SimulatedJob, decision: Preempt) -> None:
        for name in decision.victims:
            run = self.runs[name]
            victim = run.running
            assert victim.preemptible
            assert victim.priority < job.job.priority
            assert self.now_s - self._ran_since(run) >= self.rules.min_run_s
            stopping = replace(victim, is_stopping=True)
            self.runs[name] = _Run(stopping, min(run.ends_s, self.now_s + STOP_S), is_preempted=True)

    def _end(self, run: _Run) -> None:
        del self.runs[run.running.id]
        [job] = [job for job in self.jobs if job.job.id == run.running.id]
        ran_s = self.now_s - self._ran_since(run)
        held = ran_s * self.machines.weigh(run.running.shape.total)
        self.device_s[run.running.owner] = self.device_s.get(run.running.owner, 0.0) + held
        job.trained_s += ran_s
        if job.trained_s < job.trains_s:
            job.num_preempted += 1
            left_s = None if job.job.longest_s is None else job.job.longest_s - ran_s
            job.job = replace(job.job, is_in_front=True, longest_s=left_s)
            self.queue.append(job)
        else:
            self.num_ended += 1

    def seen(self, run: _Run) -> RunningJob:
        """The run as the policy is told of it: a limit counts from the run's start."""
        remaining_s = run.running.remaining_s
        return replace(run.running, remaining_s=remaining_s and remaining_s - (self.now_s - self._ran_since(run)))

    def _shares(self) -> dict[str, Share]:
        owners = {job.job.owner for job in self.jobs}
        given = {owner: self.shares.get(owner, Share()) for owner in owners}
        return {
            owner: Share(self.device_s.get(owner, 0.0), share.weight, share.max_running_gpus, share.max_running_cpus)
            for owner, share in given.items()
        }

    @property
    def at(self) -> datetime:
        return NOW + timedelta(seconds=self.now_s)

    def _ran_since(self, run: _Run) -> float:
        return (run.running.started_at - NOW).total_seconds()
