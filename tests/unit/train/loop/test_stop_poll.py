"""When a run stops: at the end of its step, before its first one, in an evaluation or a save; and what it leaves."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from ftlab.schemas import EventKind
from tests.unit.train.runs import Job, Link, write_rows
from train.checkpoints import checkpoint_files
from train.loop.run_context import StopPoll
from train.plan import Ending, Phase, StopKind

SAVING_KINDS = [kind for kind in StopKind if kind is not StopKind.FENCED]
EVALUATING = {"training": {"eval_steps": 4}}


@dataclass
class Wanted(Link):
    """A link with an answer that a test changes."""

    stop: StopKind | None = None

    def stop_requested(self) -> StopKind | None:
        return self.stop


def saved_steps(job: Job) -> list[int]:
    return [step for step, _ in checkpoint_files.committed(job.folder / "checkpoints")]


@pytest.fixture
def counts_steps(monkeypatch: pytest.MonkeyPatch) -> Link:
    """A link; for runs, its steps are seconds."""
    link = Link()
    monkeypatch.setattr("train.loop.run_context.StopPoll", partial(StopPoll, clock=lambda: link.step))
    return link


@pytest.mark.parametrize("kind", SAVING_KINDS)
def test_every_kind_of_stop_saves_the_step_that_just_ended(job: Job, kind: StopKind):
    link = Link(stop_at={4: kind})
    outcome = job.train(link)
    assert (outcome.ending, outcome.stop, outcome.step) == (Ending.STOPPED, kind, 4)
    assert (outcome.has_saved, outcome.saved_step, outcome.delivered_step) == (True, 4, None)
    assert list(link.series("loss")) == [1, 2, 3, 4]
    assert job.checkpoints == ["step-00000003", "step-00000004"]
    assert not (job.folder / "model").exists()


def test_a_fenced_run_stops_without_saving(job: Job):
    link = Link(stop_at={3: StopKind.FENCED})
    outcome = job.train(link)
    assert (outcome.ending, outcome.stop, outcome.step) == (Ending.STOPPED, StopKind.FENCED, 3)
    assert (outcome.has_saved, outcome.saved_step) == (False, None)
    assert link.reported == []
    assert job.checkpoints == []


def test_a_step_that_is_saved_anyway_is_saved_once(job: Job):
    link = Link(stop_at={3: StopKind.PAUSE})
    outcome = job.train(link)
    assert (outcome.has_saved, outcome.saved_step) == (True, 3)
    assert [step for step, _ in link.reported] == [3]


def test_a_stop_that_is_asked_for_during_a_save_needs_no_further_step(job: Job):
    link = Link(stop_in={(Phase.SAVING, 3): StopKind.DRAIN})
    outcome = job.train(link)
    assert (outcome.stop, outcome.step, outcome.has_saved) == (StopKind.DRAIN, 3, True)
    assert [step for step, _ in link.reported] == [3]


def test_signs_of_life_say_what_the_run_is_at(job: Job):
    link = Link()
    job.train(link, training={"eval_steps": 3, "gradient_accumulation_steps": 2})
    assert [beat.count for beat in link.beats] == list(range(1, len(link.beats) + 1))
    at_the_end_of_step_3 = [beat.phase for beat in link.beats if beat.step == 3]
    assert at_the_end_of_step_3 == ["training", "evaluating", "training", "saving", "training", "training"], (
        "the step, one batch of evaluation, its end, the save, its end, the first half of the next step"
    )
    phases = list(dict.fromkeys(beat.phase for beat in link.beats))
    assert phases == ["loading", "training", "evaluating", "saving", "delivering"]
    assert link.beats[-1].median_step_s is not None


def test_a_run_that_stops_tells_the_step_that_it_reached(job: Job):
    link = Link(stop_at={4: StopKind.PAUSE})
    job.train(link, training={"logging_steps": 50})
    assert link.told(EventKind.PROGRESS)[-1]["step"] == 4


@pytest.mark.parametrize("step", [0, 3])
def test_a_stop_while_the_run_loads_ends_it_with_nothing_new(job: Job, step: int):
    if step:
        job.train(Link(stop_at={step: StopKind.PAUSE}))
    link = Link(stop_in={(Phase.LOADING, 0): StopKind.CANCEL})
    outcome = job.train(link)
    assert (outcome.ending, outcome.stop, outcome.step) == (Ending.STOPPED, StopKind.CANCEL, step)
    assert (outcome.has_saved, outcome.saved_step) == (False, step or None)
    assert link.events == []


def test_a_stop_in_the_first_evaluation_ends_the_run_with_nothing_new(job: Job, tmp_path: Path):
    job.eval_rows = write_rows(tmp_path / "many.arrow", 40)
    link = Link(stop_in={(Phase.EVALUATING, 0): StopKind.PREEMPT})
    outcome = job.train(link)
    assert (outcome.stop, outcome.step, outcome.has_saved, outcome.saved_step) == (StopKind.PREEMPT, 0, False, None)
    assert link.told(EventKind.METRICS) == []
    assert sum(beat.phase == Phase.EVALUATING for beat in link.beats) == 1, "one of ten batches"


def test_a_stop_in_a_later_evaluation_saves_and_the_resume_evaluates(job: Job, tmp_path: Path):
    whole, resumed = Link(), Link()
    Job(tmp_path / "whole", job.models, job.rows, job.eval_rows).train(whole, **EVALUATING)
    stopped = Link(stop_in={(Phase.EVALUATING, 4): StopKind.PAUSE})
    outcome = job.train(stopped, **EVALUATING)
    assert (outcome.step, outcome.has_saved, outcome.saved_step) == (4, True, 4)
    assert list(stopped.series("eval_loss")) == [0]
    job.train(resumed, **EVALUATING)
    assert stopped.series("eval_loss") | resumed.series("eval_loss") == whole.series("eval_loss")
    told = [data for data in resumed.told(EventKind.CHECKPOINT) if data["step"] == 4]
    assert told[-1]["metrics"]["eval_loss"] == whole.series("eval_loss")[4]


def test_a_stop_in_the_last_evaluation_leaves_it_and_the_delivery_to_the_resume(job: Job):
    outcome = job.train(Link(stop_in={(Phase.EVALUATING, 8): StopKind.PAUSE}))
    assert (outcome.ending, outcome.saved_step) == (Ending.STOPPED, 8)
    link = Link()
    assert job.train(link).delivered_step == 8
    assert (list(link.series("eval_loss")), link.series("loss")) == ([8], {})
    assert checkpoint_files.verify(job.folder / "model").metrics["eval_loss"] == link.series("eval_loss")[8]


def test_used_up_time_ends_the_run_with_the_step(job: Job, counts_steps: Link):
    outcome = job.train(counts_steps, time_left_s=5)
    assert (outcome.stop, outcome.step, outcome.has_saved) == (StopKind.TIME_LIMIT, 5, True)


def test_time_that_is_used_up_with_the_last_step_does_no_harm(job: Job, counts_steps: Link):
    outcome = job.train(counts_steps, time_left_s=8)
    assert (outcome.ending, outcome.delivered_step) == (Ending.FINISHED, 8)
    assert list(counts_steps.series("eval_loss")) == [0, 8]


def test_a_checkpoint_that_is_wanted_now_is_saved_before_the_evaluation_and_the_run_goes_on(job: Job):
    link = Link(save_at={4})
    outcome = job.train(link, **EVALUATING)
    assert outcome.ending is Ending.FINISHED
    # The evaluation is the best so far, so the step is saved again with its result.
    assert [step for step, _ in link.reported] == [3, 4, 4, 6, 8]
    saved = next(place for place, (_, data) in enumerate(link.events) if data.get("name") == "step-00000004")
    evaluated = next(
        place
        for place, (_, data) in enumerate(link.events)
        if "eval_loss" in data.get("values", {}) and data["step"] == 4
    )
    assert saved < evaluated


def test_a_checkpoint_that_is_wanted_at_a_step_that_is_saved_anyway_has_its_evaluation(job: Job):
    link = Link(save_at={4})
    job.train(link, training={"eval_steps": 4, "save_steps": 4})
    manifest = checkpoint_files.read_manifest(job.folder / "checkpoints" / "step-00000004")
    assert manifest.metrics["eval_loss"] == link.series("eval_loss")[4]


def test_an_interruption_does_not_change_what_is_delivered(job: Job, tmp_path: Path):
    """Also where the step at which it happens has the best eval loss of all."""
    training = {"learning_rate": 0.3, "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "max_steps": 6}
    training |= {"eval_steps": 1, "save_steps": 4}
    whole, link = Job(tmp_path / "whole", job.models, job.rows, job.eval_rows), Link()
    delivered = whole.train(link, training=training).delivered_step
    losses = link.series("eval_loss")
    best = min((step for step in losses if step), key=lambda step: losses[step])
    assert best not in (4, 6)
    job.train(Link(stop_at={best: StopKind.PAUSE}), training=training)
    assert job.train(training=training).delivered_step == delivered
    assert best in saved_steps(job)


def test_the_most_urgent_of_a_request_and_the_clock_counts():
    link = Wanted()
    seconds = iter([0, 9, 10, 10, 10, 10])
    poll = StopPoll(link, 10, clock=lambda: next(seconds))
    assert poll.agreed_stop() is None
    assert poll.agreed_stop() is StopKind.TIME_LIMIT
    link.stop = StopKind.DRAIN
    assert poll.agreed_stop() is StopKind.TIME_LIMIT
    assert poll.agreed_stop(check_time_limit=False) is StopKind.DRAIN
    link.stop = StopKind.PAUSE
    assert poll.agreed_stop() is StopKind.PAUSE
