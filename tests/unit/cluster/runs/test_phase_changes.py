"""What a run does now travels from its heartbeats to the event log, the job and its followers."""

from cluster.runs.phase_changes import PhaseChanges
from ftlab.schemas import EventKind, EventPayload, MetricsPayload, ProgressPayload
from ftlab.status import Phase
from tests.unit.cluster.coordinator.world import START
from tests.unit.cluster.runs.driver_runs import Runs, close_log, worker
from train.plan import Beat, ModelLoaded
from train.reporting.event_sender import Emitted


def sent(*payloads: EventPayload | ModelLoaded, start: int = 1) -> list[Emitted]:
    return [Emitted(number, START, payload) for number, payload in enumerate(payloads, start)]


def test_one_event_per_change_and_none_per_heartbeat():
    phases = PhaseChanges(step=0)
    order = [Phase.LOADING] * 3 + [Phase.EVALUATING] * 4 + [Phase.TRAINING] * 5 + [Phase.SAVING] + [Phase.TRAINING]
    changes = [phases.change([], Beat(count, 0, None, phase)) for count, phase in enumerate(order)]
    reported = [change.phase for change in changes if change is not None]
    assert reported == [Phase.EVALUATING, Phase.TRAINING, Phase.SAVING, Phase.TRAINING]
    assert phases.change([], None) is None


def test_the_event_repeats_the_newest_position_without_its_metrics():
    phases = PhaseChanges(step=0)
    measured = MetricsPayload(step=7, total_steps=20, epoch=0.5, eta_s=3.0, values={"loss": 1.0})
    change = phases.change(sent(measured), Beat(9, 7, 0.1, Phase.SAVING))
    assert change == ProgressPayload(step=7, total_steps=20, epoch=0.5, eta_s=3.0, phase=Phase.SAVING)
    assert change.to_data().keys() == {"step", "total_steps", "epoch", "eta_s", "phase"}
    assert phases.total_steps == 20


def test_a_resumed_run_stays_at_its_recorded_step_until_it_reports_another():
    phases = PhaseChanges(step=120)
    change = phases.change([], Beat(1, 100, None, Phase.TRAINING))
    assert change == ProgressPayload(step=120, phase=Phase.TRAINING)


def test_the_phase_is_recorded_with_the_job_until_its_run_ends(runs: Runs):
    driver = runs.launch()
    driver.hello(worker(0, 11, None))
    driver.record(sent(ModelLoaded("main-1")), Beat(1, 0, None, Phase.LOADING))
    measured = ProgressPayload(step=5, total_steps=8, epoch=0.5, eta_s=2.0)
    driver.record(sent(measured, start=2), Beat(2, 5, 0.1, Phase.TRAINING))
    for count in range(3, 6):
        driver.record([], Beat(count, 5, 0.1, Phase.EVALUATING))
    close_log(driver)

    with runs.store.read() as tx:
        events = tx.events.after(runs.job_id, 0, kinds=[EventKind.PROGRESS])
    assert [event.data.get("phase") for event in events] == [None, "training", "evaluating"]
    job = runs.job()
    assert (job.phase, job.step, job.total_steps, job.eta_s) == (Phase.EVALUATING, 5, 8, 2.0)
