"""The stage before the start: data is prepared while the job waits, and holds nobody up."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from cluster.coordinator import data_gate, preparation, queue_snapshot, start_jobs
from cluster.coordinator.queue_snapshot import QUEUE_WINDOW
from cluster.data.requests import FINDINGS, WorkState, WorkStatus
from cluster.policy import waiting_reasons
from cluster.runs.make_plan import dataset_rows
from ftlab.schemas import EventKind, JobConfig
from ftlab.schemas.events import DATA_CHECKED
from ftlab.schemas.methods import METHODS
from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.support.job_configs import configs_with_every_setting
from tests.unit.cluster.coordinator.world import World, make_dataset
from tracking.store import Store

DONE = WorkState(WorkStatus.DONE)
UNKNOWN = WorkState(WorkStatus.WORKING)
HALF = WorkState(WorkStatus.WORKING, 50, 100)
ONE_CORE = {"resources": {"cpus_per_worker": 1}}


@pytest.fixture(autouse=True)
def datasets(store: Store) -> None:
    with store.begin() as tx:
        for number in range(1, 6):
            tx.datasets.add(make_dataset(f"ds-{number}"))


def asked(world: World) -> list[str]:
    """The datasets that were asked for since the last call."""
    found = [request.files[0].dataset_id for request in world.cluster.asked_to_prepare]
    world.cluster.asked_to_prepare.clear()
    return found


def waits_for(world: World, job_id: str) -> str | None:
    return world.job(job_id).waiting_for


def test_a_job_waits_for_its_data_and_holds_no_device(world: World):
    world.cluster.preparations["ds-1"] = HALF
    job_id = world.submit()
    world.tick(after_s=2)
    assert world.status(job_id) is JobStatus.QUEUED
    assert waits_for(world, job_id) == "Waiting for its data, which is being prepared: 50 %."
    assert world.cluster.running == {}
    world.cluster.preparations["ds-1"] = UNKNOWN
    world.tick(after_s=2)
    assert waits_for(world, job_id) == "Waiting for its data, which is being prepared."
    world.cluster.preparations["ds-1"] = DONE
    world.tick(after_s=2)
    assert world.status(job_id) is JobStatus.PENDING


def test_a_job_whose_data_is_not_ready_holds_up_nobody(world: World):
    world.cluster.preparations["ds-1"] = HALF
    first, second = world.submit(priority=90), world.submit(dataset="ds-2")
    world.tick()
    assert (world.status(first), world.status(second)) == (JobStatus.QUEUED, JobStatus.PENDING)


def test_what_is_asked_names_all_that_the_run_will_need(world: World):
    job_id = world.submit(dataset=["ds-1", "ds-2"], eval_dataset="ds-3", method={"max_length": 99, "packing": True})
    world.tick()
    [request] = world.cluster.asked_to_prepare
    assert [file.dataset_id for file in request.files] == ["ds-1", "ds-2"]
    assert request.eval_file is not None
    assert request.eval_file.dataset_id == "ds-3"
    assert (request.method.max_length, request.method.packing) == (99, True)
    plan = world.driver(job_id).plan
    assert plan is not None
    assert [file.rows for file in request.files] == [file.rows for file in plan.train_files]
    assert (request.base.model, request.base.models_folder) == (plan.model, plan.models_folder)


def findings(world: World, job_id: str) -> list[str]:
    with world.store.read() as tx:
        notices = tx.events.tail(job_id, EventKind.NOTICE, 10)
    return [notice.data["message"] for notice in notices if notice.data["code"] == DATA_CHECKED]


def test_what_the_doctor_found_is_in_the_log_before_the_job_trains_and_once(world: World):
    world.cluster.preparations["ds-1"] = replace(DONE, result={FINDINGS: "Dataset ds-1: 1 truncated_row."})
    job_id = world.submit()
    world.tick()
    assert world.status(job_id) is JobStatus.PENDING
    assert findings(world, job_id) == ["Dataset ds-1: 1 truncated_row."]
    assert [each["kind"] for each in world.hub.events][-2:] == [EventKind.STATUS, EventKind.NOTICE]
    world.end_attempt(job_id, ReasonCode.WORKER_CRASHED)
    world.tick()
    world.tick(after_s=60)
    assert world.job(job_id).attempt == 2
    assert findings(world, job_id) == ["Dataset ds-1: 1 truncated_row."]


def test_a_data_error_fails_the_job_before_it_holds_a_device(world: World):
    message = "None of the 9 rows has a token to train on."
    world.cluster.preparations["ds-1"] = WorkState(
        WorkStatus.FAILED, reason=ReasonCode.DATASET_INVALID, message=message
    )
    jobs = [world.submit(), world.submit()]
    other = world.submit(dataset="ds-2")
    world.tick()
    for job_id in jobs:
        job = world.job(job_id)
        assert (job.status, job.reason, job.message) == (JobStatus.FAILED, ReasonCode.DATASET_INVALID, message)
        assert world.attempts(job_id) == []
    assert world.status(other) is JobStatus.PENDING


def test_a_job_waits_for_a_bucket_that_is_away_and_holds_up_nobody(world: World):
    world.cluster.preparations["ds-1"] = WorkState(WorkStatus.FAILED, message="The bucket does not answer.")
    world.cluster.preparations |= dict.fromkeys(("ds-2", "ds-3"), HALF)
    first, _, third = (world.submit(dataset=f"ds-{number}") for number in (1, 2, 3))
    world.tick(after_s=2)
    assert waits_for(world, first) == "Waiting for its data: The bucket does not answer."
    assert waits_for(world, third) == "Waiting for its data, which is being prepared: 50 %."
    world.cluster.preparations["ds-1"] = DONE
    world.tick(after_s=2)
    assert world.status(first) is JobStatus.PENDING


def test_a_bucket_that_the_settings_no_longer_have_fails_only_its_own_jobs(world: World, store: Store):
    with store.begin() as tx:
        tx.datasets.add(replace(make_dataset("ds-9"), bucket="taken-out"))
    first, second = world.submit(dataset="ds-9", priority=90), world.submit()
    world.tick(after_s=2)
    assert world.status(first) is JobStatus.FAILED
    assert (world.job(first).message or "").startswith("Bucket 'taken-out' is not among the settings")
    world.tick(after_s=1)
    assert world.status(second) is JobStatus.PENDING


def test_a_preparation_that_others_came_before_is_not_taken_for_a_silent_one(world: World):
    world.cluster.preparations = dict.fromkeys(("ds-1", "ds-2", "ds-3"), HALF)
    first = world.submit()
    world.tick()
    urgent = [world.submit(dataset=name, priority=90) for name in ("ds-2", "ds-3")]
    for _ in range(3):
        world.tick(after_s=preparation.SILENCE_S - 1)
    world.cluster.preparations = dict.fromkeys(("ds-2", "ds-3"), DONE) | {"ds-1": None}
    world.tick(after_s=2)
    assert world.status(first) is JobStatus.QUEUED
    assert world.status(urgent[0]) is JobStatus.PENDING


def test_two_are_prepared_at_once_in_the_order_of_starts(world: World):
    world.cluster.preparations = dict.fromkeys((f"ds-{number}" for number in range(1, 6)), HALF)
    jobs = [world.submit(dataset=f"ds-{number}") for number in range(1, 5)]
    urgent = world.submit(dataset="ds-5", priority=80)
    world.tick(after_s=2)
    assert asked(world) == ["ds-5", "ds-1"]
    assert waits_for(world, jobs[1]) == "Waiting for its data, which is prepared after that of 2 jobs ahead of it."
    world.cluster.preparations["ds-5"] = DONE
    world.tick(after_s=2)
    assert asked(world) == ["ds-5", "ds-1", "ds-2"]
    assert world.status(urgent) is JobStatus.PENDING


def test_jobs_that_want_the_same_are_asked_for_once(world: World):
    world.cluster.preparations["ds-1"] = HALF
    jobs = [world.submit(**ONE_CORE), world.submit(**ONE_CORE, training={"seed": 7})]
    other = world.submit(**ONE_CORE, method={"max_length": 77})
    world.tick()
    assert asked(world) == ["ds-1", "ds-1"]
    world.cluster.preparations["ds-1"] = DONE
    world.tick()
    assert asked(world) == ["ds-1", "ds-1"]
    assert [world.status(job_id) for job_id in [*jobs, other]] == [JobStatus.PENDING] * 3


def test_data_that_is_known_to_be_ready_costs_nothing(world: World, monkeypatch: pytest.MonkeyPatch):
    world.submit(**ONE_CORE)
    world.tick()
    asked(world)
    known = statements_of_a_start(world)
    assert asked(world) == []
    new = statements_of_a_start(world, method={"max_length": 77})
    assert asked(world) == ["ds-1"]
    monkeypatch.setattr(data_gate.DataGate, "let_pass", lambda self, tick, snapshot, fleet: (snapshot.queue, []))
    without_the_gate = statements_of_a_start(world)
    assert known == without_the_gate
    assert len(new) > len(known)


def statements_of_a_start(world: World, **config: Any) -> list[str]:
    """What one tick, which starts the job and finds as many running as the last one, tells the database."""
    job_id = world.submit(**ONE_CORE, **config)
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        world.tick()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert world.status(job_id) is JobStatus.PENDING
    world.end_attempt(job_id, ReasonCode.USER_CANCELLED)
    world.cancel(job_id)
    world.tick()
    world.tick()
    return seen


def test_data_that_was_ready_long_ago_is_asked_for_again(world: World):
    world.submit()
    world.tick()
    assert asked(world) == ["ds-1"]
    world.submit()  # waits for the cores of the first
    for after_s, asks in ((preparation.READY_FOR_S, []), (1, ["ds-1"]), (1, [])):
        world.tick(after_s=after_s)
        assert asked(world) == asks, after_s


def bring_rows(world: World, *datasets: str) -> None:
    """Have the rows of the datasets on this machine."""
    with world.store.read() as tx:
        for dataset in map(tx.datasets.get, datasets):
            rows = dataset_rows(world.settings, dataset)
            rows.parent.mkdir(parents=True, exist_ok=True)
            rows.touch()


def test_a_run_trains_on_until_what_was_appended_is_prepared(world: World):
    job_id = world.running()
    other = world.submit()
    world.append(job_id, "ds-2")
    world.cluster.preparations["ds-1"] = HALF
    for _ in range(3):
        world.beat(job_id)
        world.tick(after_s=10)
    assert (world.status(job_id), world.driver(job_id).stops) == (JobStatus.RUNNING, [])
    assert {len(request.files) for request in world.cluster.asked_to_prepare} == {1, 2}
    world.cluster.preparations["ds-1"] = DONE
    world.beat(job_id)
    world.tick()
    assert (world.status(job_id), world.driver(job_id).stops) == (JobStatus.PAUSING, [StopKind.EXTEND])
    world.stops(job_id, ReasonCode.OK, saved_step=7)
    assert (world.status(job_id), world.status(other)) == (JobStatus.PENDING, JobStatus.QUEUED)


def test_files_that_come_one_by_one_are_taken_in_together(world: World):
    job_id = world.running()
    for number in (2, 3, 4):
        world.append(job_id, f"ds-{number}")
        world.tick(after_s=data_gate.SETTLED_S - 1)
    assert world.driver(job_id).stops == []
    world.tick(after_s=data_gate.SETTLED_S)
    assert world.driver(job_id).stops == [StopKind.EXTEND]


@pytest.mark.parametrize(
    "trouble",
    [None, HALF, WorkState(WorkStatus.FAILED, reason=ReasonCode.HOST_OOM, message="The data worker was ended.")],
    ids=["silence", "no progress", "trouble of its own"],
)
def test_a_run_trains_on_while_the_data_worker_has_trouble(world: World, trouble: WorkState | None):
    job_id = world.running(first_step_timeout_s=30)
    world.append(job_id, "ds-2")
    world.cluster.preparations["ds-1"] = trouble
    world.submit(dataset="ds-3")
    for _ in range(2 * int(preparation.SILENCE_S) // 20):
        world.beat(job_id)
        world.tick(after_s=20)
    assert (world.status(job_id), world.driver(job_id).stops) == (JobStatus.RUNNING, [])
    world.cluster.preparations["ds-1"] = DONE
    world.beat(job_id)
    world.tick(after_s=1)
    assert world.driver(job_id).stops == [StopKind.EXTEND]


def test_an_answer_that_was_not_asked_for_in_a_long_time_is_no_sign(world: World):
    job_id = world.running()
    world.append(job_id, "ds-2")
    world.cluster.preparations["ds-1"] = HALF
    world.tick()
    world.pause(job_id)
    world.stops(job_id, ReasonCode.OK, saved_step=7)
    world.tick(after_s=10 * preparation.SILENCE_S)
    world.cluster.preparations["ds-1"] = None
    world.resume(job_id)
    world.tick()
    assert world.status(job_id) is JobStatus.QUEUED


def test_only_so_much_is_prepared_at_a_time_for_runs_and_the_queue_together(world: World):
    running = [world.running(**ONE_CORE) for _ in range(2)]
    for job_id, dataset in zip(running, ("ds-2", "ds-3"), strict=True):
        world.append(job_id, dataset)
    world.cluster.preparations["ds-1"] = HALF
    queued = world.submit(dataset="ds-4")
    world.cluster.preparations["ds-4"] = HALF
    asked(world)
    world.tick(after_s=2)
    assert asked(world) == ["ds-1", "ds-4"]
    world.submit(dataset="ds-5")
    world.cluster.preparations["ds-5"] = HALF
    world.tick(after_s=2)
    assert asked(world) == ["ds-1", "ds-4"]
    assert waits_for(world, queued) == waiting_reasons.waits_for_data(50)


def test_a_run_ends_for_appended_files_that_nobody_can_prepare(world: World):
    job_id = world.running()
    world.append(job_id, "ds-2")
    world.cluster.preparations["ds-1"] = WorkState(WorkStatus.FAILED, reason=ReasonCode.DATASET_INVALID, message="No.")
    world.take_in()
    assert world.driver(job_id).stops == [StopKind.EXTEND]
    world.stops(job_id, ReasonCode.OK, saved_step=7)
    assert (world.status(job_id), world.job(job_id).reason) == (JobStatus.FAILED, ReasonCode.DATASET_INVALID)


def test_a_run_trains_on_while_the_bucket_of_what_was_appended_is_away(world: World):
    job_id = world.running()
    world.append(job_id, "ds-2")
    world.cluster.preparations["ds-1"] = WorkState(WorkStatus.FAILED, message="The bucket does not answer.")
    world.tick()
    assert (world.status(job_id), world.driver(job_id).stops) == (JobStatus.RUNNING, [])


def test_a_job_that_waits_for_appended_files_holds_no_device(world: World):
    """Its run had trained what it knew of before they were prepared."""
    job_id = world.running()
    other = world.submit(dataset="ds-3")
    bring_rows(world, "ds-1", "ds-2")
    world.append(job_id, "ds-2")
    world.cluster.preparations["ds-1"] = HALF
    world.end_attempt(job_id, ReasonCode.OK)
    world.tick()
    assert (world.status(job_id), world.status(other)) == (JobStatus.QUEUED, JobStatus.PENDING)
    assert waits_for(world, job_id) == "Waiting for its data, which is being prepared: 50 %."


def test_files_that_are_appended_while_the_job_is_started_are_prepared_first(world: World, monkeypatch):
    job_id = world.submit()
    decide = start_jobs.decide

    def append_meanwhile(*given: Any) -> Any:
        monkeypatch.setattr(start_jobs, "decide", decide)
        world.append(job_id, "ds-2")
        world.cluster.preparations["ds-1"] = HALF
        return decide(*given)

    monkeypatch.setattr(start_jobs, "decide", append_meanwhile)
    world.tick()
    world.tick()
    assert world.status(job_id) is JobStatus.QUEUED
    assert len(world.cluster.asked_to_prepare[-1].files) == 2


def test_a_job_whose_machine_was_lost_keeps_its_turn(world: World):
    world.cluster.prepares_at_once = False
    job_id = world.submit()
    world.tick()
    world.tick()
    world.trains(job_id)
    bring_rows(world, "ds-1")
    world.submit(dataset="ds-2")
    world.tick(after_s=preparation.READY_FOR_S + 1)
    world.beat(job_id)
    world.cluster.prepares_at_once, world.cluster.preparations["ds-1"] = True, HALF
    world.end_attempt(job_id, ReasonCode.NODE_LOST)
    world.tick()
    assert (world.status(job_id), world.attempt(job_id).number) == (JobStatus.PENDING, 2)


def test_a_job_that_has_run_keeps_its_turn_behind_others_that_are_prepared(world: World):
    job_id = world.running()
    bring_rows(world, "ds-1")
    world.cluster.preparations = dict.fromkeys(("ds-1", "ds-2", "ds-3"), HALF)
    for number in (2, 3):
        world.submit(dataset=f"ds-{number}", priority=90)
    world.tick(after_s=preparation.READY_FOR_S + 1)
    asked(world)
    world.end_attempt(job_id, ReasonCode.NODE_LOST)
    world.tick()
    assert asked(world) == ["ds-2", "ds-3"]
    assert (world.status(job_id), world.attempt(job_id).number) == (JobStatus.PENDING, 2)


def lose_machine_without_data(world: World, state: WorkState) -> str:
    """A job that has run is queued again, and its data is not known to be ready."""
    job_id = world.running()
    world.cluster.preparations["ds-1"] = state
    world.submit(priority=0)
    world.beat(job_id)
    world.tick(after_s=preparation.READY_FOR_S + 1)
    world.end_attempt(job_id, ReasonCode.NODE_LOST)
    world.tick()
    return job_id


def test_rows_in_a_bucket_elsewhere_are_waited_for_by_a_job_that_has_run_too(world: World):
    """Its run could not get them."""
    assert world.status(lose_machine_without_data(world, HALF)) is JobStatus.QUEUED


@pytest.mark.parametrize("reason", [ReasonCode.DATASET_INVALID, None])
def test_what_is_known_to_be_wrong_stops_a_job_that_has_run_too(world: World, reason: ReasonCode | None):
    bring_rows(world, "ds-1")
    wrong = WorkState(WorkStatus.FAILED, reason=reason, message="It is no good.")
    job_id = lose_machine_without_data(world, wrong)
    assert world.status(job_id) is (JobStatus.FAILED if reason else JobStatus.QUEUED)
    assert world.attempt(job_id).number == 1


def test_jobs_that_wait_for_their_data_hide_nobody(world: World):
    world.cluster.preparations["ds-1"] = HALF
    waiting = [world.submit() for _ in range(QUEUE_WINDOW + 50)]
    behind = [world.submit(dataset="ds-2", **ONE_CORE) for _ in range(2)]
    world.tick()
    assert [world.status(job_id) for job_id in behind] == [JobStatus.QUEUED] * 2
    world.tick()
    assert [world.status(job_id) for job_id in behind] == [JobStatus.PENDING] * 2
    assert world.status(waiting[0]) is JobStatus.QUEUED


def test_so_many_jobs_at_most_are_looked_at(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(queue_snapshot, "MAX_MORE_JOBS", 20)
    world.cluster.preparations["ds-1"] = HALF
    for _ in range(QUEUE_WINDOW + 21):
        world.submit()
    behind = world.submit(dataset="ds-2")
    for _ in range(4):
        world.tick()
    assert len(world.coordinator._data_gate._of_queued) == QUEUE_WINDOW + 20
    assert world.status(behind) is JobStatus.QUEUED


def test_a_new_coordinator_asks_again(world: World):
    world.submit(**ONE_CORE)
    world.tick()
    assert asked(world) == ["ds-1"]
    world.coordinator = world.new_coordinator()
    world.submit(**ONE_CORE)
    world.tick()
    assert asked(world) == ["ds-1"]


def test_a_new_coordinator_lets_nobody_overtake_a_job_whose_data_was_ready(world: World):
    running = world.running()
    for number in (2, 3):
        world.cluster.preparations[f"ds-{number}"] = replace(DONE, result={FINDINGS: f"Dataset ds-{number}: fine."})
    first, second = world.submit(dataset="ds-2"), world.submit(dataset="ds-3")
    world.tick(after_s=2)
    bring_rows(world, "ds-2", "ds-3")
    world.coordinator = world.new_coordinator()
    world.cluster.preparations["ds-2"] = UNKNOWN  # a data worker that has just started looks it up
    world.stops(running, ReasonCode.OK, saved_step=7)
    world.tick()
    assert (world.status(first), world.status(second)) == (JobStatus.PENDING, JobStatus.QUEUED)
    with world.store.read() as tx:
        notices = tx.events.tail(first, EventKind.NOTICE, 10)
    assert [notice.data["message"] for notice in notices if notice.data["code"] == DATA_CHECKED] == [
        "Dataset ds-2: fine."
    ]


def test_an_appended_file_has_to_be_ready_as_well(world: World):
    running = world.running()
    world.cluster.preparations["ds-2"] = replace(DONE, result={FINDINGS: "Dataset ds-2: fine."})
    job_id, other = world.submit(dataset="ds-2"), world.submit(dataset="ds-3")
    world.tick(after_s=2)
    bring_rows(world, "ds-2", "ds-4")
    world.append(job_id, "ds-4")
    world.cluster.preparations["ds-2"] = HALF
    world.stops(running, ReasonCode.OK, saved_step=7)
    assert (world.status(job_id), world.status(other)) == (JobStatus.QUEUED, JobStatus.PENDING)


def test_what_data_workers_die_over_again_and_again_is_left_to_the_run(world: World):
    job_id = world.submit()
    for pid in range(1, preparation.MAX_DEATHS + 1):
        for answer in (None, WorkState(WorkStatus.WORKING, 1, 100, worker=pid), None):
            world.cluster.preparations["ds-1"] = answer
            world.tick(after_s=2)
            assert world.status(job_id) is JobStatus.QUEUED
    world.cluster.preparations["ds-1"] = WorkState(WorkStatus.WORKING, 1, 100, worker=99)
    world.tick(after_s=2)
    assert world.status(job_id) is JobStatus.PENDING


def test_a_data_worker_that_is_not_heard_holds_nobody_up_for_long(world: World):
    world.cluster.preparations["ds-1"] = None
    job_id = world.submit()
    world.tick()
    for _ in range(4):
        world.tick(after_s=preparation.SILENCE_S / 4)
    assert world.status(job_id) is JobStatus.QUEUED
    assert waits_for(world, job_id) == "Waiting for its data, which is being prepared."
    world.tick(after_s=1)
    assert world.status(job_id) is JobStatus.PENDING


@pytest.mark.parametrize("reason", [ReasonCode.INTERNAL_ERROR, ReasonCode.HOST_OOM, ReasonCode.STORAGE_ERROR])
def test_what_may_be_the_data_workers_own_trouble_is_left_to_the_run(world: World, reason: ReasonCode):
    world.cluster.preparations["ds-1"] = WorkState(WorkStatus.FAILED, reason=reason, message="It broke.")
    job_id = world.submit()
    world.tick()
    assert world.status(job_id) is JobStatus.PENDING


def test_a_preparation_that_stands_still_is_left_to_the_run(world: World):
    world.cluster.preparations["ds-1"] = WorkState(WorkStatus.WORKING, 1, 100)
    job_id = world.submit(first_step_timeout_s=60)
    world.tick()
    for done_rows in (1, 2):
        world.cluster.preparations["ds-1"] = WorkState(WorkStatus.WORKING, done_rows, 100)
        for _ in range(2):
            world.tick(after_s=29)
    assert world.status(job_id) is JobStatus.QUEUED
    for after_s in (29, 5):
        world.tick(after_s=after_s)
    assert world.status(job_id) is JobStatus.PENDING


def test_a_job_that_is_cancelled_meanwhile_is_not_asked_for_again(world: World):
    world.cluster.preparations = dict.fromkeys(("ds-1", "ds-2", "ds-3"), HALF)
    jobs = [world.submit(dataset=f"ds-{number}") for number in range(1, 4)]
    world.tick()
    assert asked(world) == ["ds-1", "ds-2"]
    with world.store.begin() as tx:
        for status in (JobStatus.CANCELLING, JobStatus.CANCELLED):
            tx.jobs.move(world.job(jobs[0]).ref, status, now=world.now)
    world.tick()
    assert asked(world) == ["ds-2", "ds-3"]


def test_a_missing_model_fails_at_the_start_as_ever(world: World):
    job_id = world.submit(model="model:mdl-nowhere")
    world.tick()
    assert (world.status(job_id), world.job(job_id).reason) == (JobStatus.FAILED, ReasonCode.MODEL_NOT_FOUND)
    assert asked(world) == []


def test_the_revision_of_a_hub_model_is_part_of_what_is_wanted():
    config = JobConfig.model_validate({"model": "org/name", "dataset": "ds-1"})
    keys = [preparation.DataKey.of(config, revision) for revision in (None, "local-1", "local-2", "a" * 40, "b" * 40)]
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys)) == 3


def test_jobs_of_every_kind_have_a_key_that_can_be_looked_up():
    chosen = {"model": "org/name", "dataset": ["ds-1", "ds-2"], "eval_dataset": "ds-3", "dataset_weights": [0.5, 1.5]}
    chosen |= {"resources.gpus_per_worker": 1, "method.loss_type": "robust"}
    configs = [JobConfig.model_validate(document) for document in configs_with_every_setting(chosen)]
    assert {type(config.method) for config in configs} == set(METHODS)
    keys = {preparation.DataKey.of(config, None): config for config in configs}
    for config in configs:
        again = JobConfig.model_validate_json(config.model_dump_json())
        assert preparation.DataKey.of(again, None) in keys


def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data_gate, "MAX_PREPARATIONS", 2)
    for number in range(1, 5):
        world.submit(dataset=f"ds-{number}", **ONE_CORE)
        world.tick(after_s=timedelta(seconds=1).total_seconds())
    assert [key.datasets for key in world.coordinator._data_gate._preparations] == [("ds-3",), ("ds-4",)]
