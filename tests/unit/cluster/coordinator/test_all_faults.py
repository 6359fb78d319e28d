"""Jobs, users, runs, a coordinator and every fault in every order: nothing is lost and nothing is done twice.

`FAULT_EXAMPLES=2000 FAULT_STEPS=80` makes it a long search.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import event

from cluster.coordinator.coordinator import Coordinator, FencedError
from cluster.fakes import FakeDriver
from cluster.policy import Fleet
from cluster.policy.recovery import RECOVERABLE
from ftlab.status import ATTEMPT_STATUSES, JobStatus, ReasonCode
from tests.support.databases import make_database
from tests.unit.cluster.coordinator.injected_faults import AwayError, Fault, Killed, TroubledWorld
from tests.unit.cluster.coordinator.invariants import Oracle
from tests.unit.cluster.coordinator.simulated_driver import Player
from tests.unit.cluster.coordinator.world import add_job
from tracking.store import Store
from tracking.store.records import JobRecord

NUM_EXAMPLES = int(os.environ.get("FAULT_EXAMPLES", "20"))
NUM_STEPS = int(os.environ.get("FAULT_STEPS", "40"))
ROUNDS_TO_THE_END = 300
TICKS_TO_DRAIN = 5

picks = st.integers(0, 1000)
calls = st.one_of(st.integers(0, 8), st.integers(0, 30))
passing = st.sampled_from([0.5, 5.0, 35.0, 121.0])
reasons = st.sampled_from(
    [*sorted(set(ReasonCode) - {ReasonCode.OK, ReasonCode.USER_CANCELLED}), *sorted(RECOVERABLE) * 3]
)
requests = st.fixed_dictionaries(
    {
        "priority": st.sampled_from([10, 50, 90]),
        "preemptible": st.sampled_from([True, True, False]),
        "max_retries": st.integers(0, 2),
        "recovery": st.sampled_from([None, "auto"]),
        "time_limit_s": st.sampled_from([None, None, 600]),
        "resources": st.sampled_from(
            [
                {"cpus_per_worker": 1},
                {"cpus_per_worker": 1},
                {"cpus_per_worker": 2},
                {"cpus_per_worker": 4},
                {"gpus_per_worker": 0},
                {"num_workers": 2},
                {"gpus_per_worker": 0.5},
                {"num_workers": 9},
            ]
        ),
    }
)


class Service(RuleBasedStateMachine):
    @initialize(standby=st.booleans(), gpus=st.sampled_from([0, 2]), asked=st.lists(requests, min_size=2, max_size=5))
    def open(self, standby: bool, gpus: int, asked: list[dict[str, Any]]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ftlab-faults-"))
        make_database(self.folder / "ftlab.db")
        self.store = Store.open(f"sqlite:///{self.folder / 'ftlab.db'}")
        # Power cuts are not among the faults.
        event.listen(self.store._database._writer, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
        self.world = TroubledWorld(self.store, self.folder, standby=standby)
        self.world.cluster.given = Fleet.of_one(4, gpus)
        self.oracle = Oracle(self.world)
        self.jobs: list[str] = []
        self.older: list[Coordinator] = []
        for fields in asked:
            self.submit("ann", fields)
        for _ in range(3):
            self.world.tick()
            self._all_move_on(saves=True)

    @rule(owner=st.sampled_from(["ann", "bob"]), fields=requests)
    def submit(self, owner: str, fields: dict[str, Any]) -> None:
        job_id = f"job-{len(self.jobs):012d}"
        add_job(self.store, fields, now=self.world.now, owner=owner, job_id=job_id)
        self.jobs.append(job_id)

    @rule(
        pick=picks,
        wish=st.sampled_from(["pause", "resume", "resume", "cancel", "priority", "front", "append", "append"]),
        older=st.booleans(),
    )
    def user_wants(self, pick: int, wish: str, older: bool) -> None:
        job = self.world.job(self.jobs[pick % len(self.jobs)])
        match wish:
            case "pause" if job.status in ATTEMPT_STATUSES or job.status is JobStatus.QUEUED:
                self.world.pause(job.id)
            case "resume" if job.status in (JobStatus.PAUSED, JobStatus.FAILED, JobStatus.CANCELLED):
                with self.store.read() as tx:
                    names = [checkpoint.name for checkpoint in tx.checkpoints.of_job(job.id)]
                self.world.resume(job.id, names[-1] if older and names else None)
            case "append" if job.status not in (JobStatus.CANCELLING, JobStatus.CANCELLED, JobStatus.FAILED):
                self.world.append(job.id)
            case "cancel" if not job.status.is_terminal and job.status is not JobStatus.CANCELLING:
                self._cancel(job)
            case "priority" | "front" if job.status is JobStatus.QUEUED:
                with self.store.begin() as tx:
                    tx.jobs.move_to_front(job.id) if wish == "front" else tx.jobs.set_priority(job.id, pick % 101)

    @rule(pick=picks, fate=st.sampled_from(["finishes", "finishes", "is killed", "hangs", "fails"]), reason=reasons)
    def run_meets_its_fate(self, pick: int, fate: str, reason: ReasonCode) -> None:
        runs = self._runs()
        if not runs:
            return
        name = sorted(runs)[pick % len(runs)]
        match fate:
            case "finishes" if runs[name].has_trained:
                Player(self.world, runs[name]).finish()
            case "is killed":
                self.world.cluster.crash(name)
            case "hangs":
                runs[name].answers = False
            case "fails":
                Player(self.world, runs[name]).fail(reason)

    @rule()
    def standby_changes(self) -> None:
        """One that comes up is ready, one that is ready dies."""
        for name, driver in list(self.world.cluster.running.items()):
            if driver.plan is None and driver.state == "ready":
                self.world.cluster.crash(name)
            elif driver.state == "starting":
                driver.state = "ready"

    @rule(after_s=passing, moves=st.integers(1, 3), saves=st.booleans())
    def time_passes(self, after_s: float, moves: int, saves: bool) -> None:
        for _ in range(moves):
            self._all_move_on(saves=saves)
            self._pass(after_s)
            self.world.coordinator.tick()

    @rule(after_s=passing, fault=st.sampled_from(sorted(Fault)), calls_left=calls, moves=st.booleans())
    def tick_with_a_fault(self, after_s: float, fault: Fault, calls_left: int, moves: bool) -> None:
        if moves:
            self._all_move_on(saves=True)
        self._pass(after_s)
        self.world.trouble.order(fault, calls_left)
        try:
            self.world.coordinator.tick()
        except AwayError:
            pass
        except Killed:
            self.world.coordinator = self.world.new_coordinator()
        finally:
            self.world.trouble.order(None, 0)

    @rule()
    def another_coordinator_is_started(self) -> None:
        self.world.coordinator.tick()
        self.older = [self.world.coordinator]
        self.world.coordinator = self.world.new_coordinator()
        self.world.coordinator.tick()

    @precondition(lambda self: self.older)
    @rule()
    def the_older_coordinator_is_fenced(self) -> None:
        before = self._statuses()
        with pytest.raises(FencedError):
            self.older[0].tick()
        assert self._statuses() == before

    @rule(is_drained=st.booleans())
    def everything_is_restarted(self, is_drained: bool) -> None:
        if is_drained:
            self.world.coordinator.drain()
            for _ in range(TICKS_TO_DRAIN):
                self.world.coordinator.tick()
                self._all_move_on(saves=True)
                self._pass(5.0)
            assert self.world.coordinator.is_drained()
        self.world.cluster.running.clear()
        self.world.cluster.life += "+"
        self.older = []
        self.world.coordinator = self.world.new_coordinator()

    @invariant()
    def everything_is_in_order(self) -> None:
        if hasattr(self, "world"):
            self.oracle.check(self.jobs)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self._drive_until(lambda: all(status.is_terminal for status in self._statuses()))
            self.oracle.check(self.jobs)
            assert [driver for driver in self.world.cluster.running.values() if driver.plan] == []
        finally:
            self.store.close()
            shutil.rmtree(self.folder)

    def _drive_until(self, is_there: Callable[[], bool]) -> None:
        """No more faults: users resume what they paused, and runs do as they should. Those that hang go on hanging."""
        for _ in range(ROUNDS_TO_THE_END):
            if is_there():
                break
            for number, status in enumerate(self._statuses()):
                if status is JobStatus.PAUSED:
                    self.world.resume(self.jobs[number])
            for driver in self._runs().values():
                player = Player(self.world, driver)
                player.finish() if driver.has_trained and not driver.stops else player.move_on()
            self._pass(10.0)
            self.world.coordinator.tick()
        assert is_there(), self._statuses()
        self._pass(10.0)
        self.world.coordinator.tick()

    def _cancel(self, job: JobRecord) -> None:
        with self.store.begin() as tx:
            tx.jobs.move(job.ref, JobStatus.CANCELLING, now=self.world.now)
            if job.status in (JobStatus.QUEUED, JobStatus.PAUSED):
                tx.jobs.move(job.ref, JobStatus.CANCELLED, now=self.world.now, reason=ReasonCode.USER_CANCELLED)

    def _all_move_on(self, *, saves: bool) -> None:
        for driver in self._runs().values():
            Player(self.world, driver).move_on(saves=saves)

    def _pass(self, seconds: float) -> None:
        """Runs beat while time passes."""
        self.world.now += timedelta(seconds=seconds)
        for driver in self._runs().values():
            Player(self.world, driver).beat()

    def _runs(self) -> dict[str, FakeDriver]:
        """Those that are at work."""
        running = self.world.cluster.running.items()
        return {name: driver for name, driver in running if driver.plan and driver.answers and driver.state == "taken"}

    def _statuses(self) -> list[JobStatus]:
        with self.store.read() as tx:
            return [job.status for job in reversed(tx.jobs.list(limit=10_000))]


TestService = Service.TestCase
TestService.settings = settings(
    max_examples=NUM_EXAMPLES,
    stateful_step_count=NUM_STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
