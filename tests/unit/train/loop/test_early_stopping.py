"""Early stopping: the step, the delivered checkpoint, what is reported, and the same through pauses and crashes."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from transformers.trainer_utils import EvalLoopOutput

from ftlab.manifest import read_manifest
from ftlab.schemas import EventKind, TrainingConfig
from tests.unit.train.ranks import Task, train
from tests.unit.train.runs import CrashError, Job, Link, Trained
from train.loop.early_stopping import evaluations_without_improvement, is_exhausted
from train.methods.sft import SftRunTrainer
from train.plan import Ending, Phase, StopKind

LOSSES = {0: 5.0, 2: 3.0, 4: 3.5, 6: 3.2, 8: 1.0}
"""The evaluations of steps 4 and 6 do not improve that of step 2."""
TRAINING: dict[str, Any] = {"eval_steps": 2, "early_stopping_patience": 2}
EARLY = {"eval_dataset": "ds-eval", "training": TRAINING}


class DyingLink(Link):
    """Dies when the run delivers."""

    def beat(self, beat: Any) -> None:
        super().beat(beat)
        if beat.phase is Phase.DELIVERING:
            raise CrashError


@pytest.fixture(autouse=True)
def scripted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations during training find these losses."""

    def evaluation_loop(self: SftRunTrainer, *_: Any, **__: Any) -> EvalLoopOutput:
        self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        return EvalLoopOutput(None, None, {"eval_loss": LOSSES[self.state.global_step]}, num_samples=1)

    monkeypatch.setattr(SftRunTrainer, "evaluation_loop", evaluation_loop)


def history(*losses: float) -> list[dict[str, float]]:
    return [{"step": step, "eval_loss": loss} for step, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("losses", "threshold", "count"),
    [
        ((), 0.0, 0),
        ((2.0,), 0.0, 0),
        ((2.0, 1.0), 0.0, 0),
        ((2.0, 2.0), 0.0, 1),
        ((2.0, 1.0, 1.5, 1.2), 0.0, 2),
        ((2.0, 3.0, 1.9), 0.0, 0),
        ((2.0, 1.95, 1.92, 1.89), 0.1, 0),
        ((2.0, 1.95, 1.92), 0.1, 2),
        ((2.0, float("nan"), float("nan")), 0.0, 2),
    ],
)
def test_evaluations_that_do_not_improve_are_counted(losses: tuple[float, ...], threshold: float, count: int) -> None:
    entries = [{"step": 9, "loss": 0.1}, *history(*losses)]
    assert evaluations_without_improvement(entries, threshold) == count
    options = {"eval_steps": 1, "early_stopping_threshold": threshold}
    training = TrainingConfig.model_validate(options | {"early_stopping_patience": 2})
    assert is_exhausted(training, entries) is (count >= 2)
    assert not is_exhausted(TrainingConfig(), entries)


def test_the_run_ends_early_and_says_so(job: Job) -> None:
    link = Link()
    outcome = job.train(link, **EARLY)
    assert (outcome.ending, outcome.step, outcome.delivered_step) == (Ending.FINISHED, 6, 2)
    assert outcome.ended_early == (
        "Stopped early at step 6 of 8: the last 2 evaluations did not improve the eval loss "
        "(training.early_stopping_patience). The lowest eval loss was 3, at step 2."
    )
    assert link.notices("stopped_early") == [f"{outcome.ended_early} The checkpoint of step 2 was delivered."]
    assert job.checkpoints == ["step-00000002", "step-00000003", "step-00000006"]
    assert list(link.series("loss")) == list(range(1, 7))
    last = link.told(EventKind.PROGRESS)[-1]
    assert (last["step"], last["total_steps"], last["eta_s"]) == (6, 6, 0.0)
    assert {data["total_steps"] for data in link.told(EventKind.METRICS) if "loss" in data["values"]} == {8}


def test_a_run_that_is_out_of_patience_at_its_last_step_is_no_early_one(job: Job) -> None:
    link = Link()
    outcome = job.train(link, eval_dataset="ds-eval", training=TRAINING | {"max_steps": 6})
    assert (outcome.step, outcome.delivered_step, outcome.ended_early) == (6, 2, None)
    assert link.notices("stopped_early") == []


def test_an_improvement_below_the_threshold_does_not_count(job: Job) -> None:
    training = TRAINING | {"early_stopping_patience": 1, "early_stopping_threshold": 2.5}
    outcome = job.train(eval_dataset="ds-eval", training=training)
    assert (outcome.step, outcome.delivered_step) == (2, 2)
    assert "the last evaluation did not improve the eval loss by more than 2.5" in str(outcome.ended_early)


@pytest.mark.parametrize(
    "interrupted",
    [
        pytest.param([Link(stop_at={4: StopKind.PAUSE})], id="paused where it would be evaluated"),
        pytest.param([Link(stop_at={5: StopKind.PAUSE})], id="paused between evaluations"),
        pytest.param([Link(stop_at={6: StopKind.PAUSE})], id="paused at the step that ends it"),
        pytest.param([Link(stop_in={(Phase.EVALUATING, 6): StopKind.PAUSE})], id="paused in its last evaluation"),
        pytest.param([Link(stop_in={(Phase.SAVING, 6): StopKind.PREEMPT})], id="stopped as it saves the last step"),
        pytest.param([Link(crash_at=5), Link(crash_at=6)], id="crashed twice"),
        pytest.param([DyingLink()], id="crashed when it delivered"),
    ],
)
def test_an_interrupted_run_ends_at_the_same_step(
    job: Job, train_once: Callable[..., Trained], interrupted: list[Link]
) -> None:
    twin, _, whole = train_once(**EARLY)
    for link in interrupted:
        with suppress(CrashError):
            job.train(link, **EARLY)
    last = Link()
    outcome = job.train(last, **EARLY)
    assert (outcome.step, outcome.delivered_step, outcome.ended_early) == (6, 2, whole.ended_early)
    assert len(last.notices("stopped_early")) == 1
    assert job.checkpoints[-1] == twin.checkpoints[-1]
    assert read_manifest(job.folder / "model").step == 2
    assert job.weights_sha256 == twin.weights_sha256


def test_all_ranks_end_at_the_same_step(job: Job, tmp_path: Path) -> None:
    """No real loss falls by 1,000, so that the first evaluation after the start ends the run."""
    training = {"eval_steps": 2, "early_stopping_patience": 1, "early_stopping_threshold": 1000.0}
    [trained] = train(
        tmp_path / "ranks", [Task(job, config={"training": training, "eval_dataset": "ds-eval"})], workers=2
    )
    assert [(outcome["step"], outcome["stop"]) for outcome in trained.outcomes] == [(2, None)] * 2
    assert [bool(outcome["ended_early"]) for outcome in trained.outcomes] == [True, True]
    assert len(trained.link.notices("stopped_early")) == 1
