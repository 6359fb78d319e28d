"""The best evaluation of a job has a checkpoint, and that one is delivered, however the run was interrupted."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers.trainer_utils import EvalLoopOutput

from ftlab.manifest import read_manifest
from ftlab.schemas import EventKind, EventPayload, MetricsPayload
from tests.unit.train.runs import CrashError, Job, Link, Trained
from train.checkpoints import checkpoint_files
from train.methods.sft import SftRunTrainer
from train.plan import Beat, ModelLoaded, Phase, StopKind
from train.reporting.run_metrics import best_evaluated_step, eval_losses

LOSSES = {0: 5.0, 2: 3.0, 4: 2.0, 6: 2.5, 8: 2.2}
"""By step. The best step is not among those that are saved anyway: 3, 6 and 8."""
TRAINING: dict[str, Any] = {"eval_steps": 2, "save_steps": 3}


@dataclass
class Dying(Link):
    """The run dies at the first event or heartbeat that fits."""

    at_metrics: int | None = None
    """When the evaluation of this step is reported."""
    at_phase: tuple[Phase, int] | None = None
    at_commit: int | None = None
    """After the checkpoint of this step is committed."""

    def emit(self, payload: EventPayload | ModelLoaded) -> None:
        super().emit(payload)
        match payload:
            case MetricsPayload(step=step, values=values) if "eval_loss" in values and step == self.at_metrics:
                raise CrashError

    def beat(self, beat: Beat) -> None:
        super().beat(beat)
        if (beat.phase, beat.step) == self.at_phase:
            raise CrashError

    def report_checkpoint(self, step: int, folder: Path) -> None:
        if step == self.at_commit:
            raise CrashError


def script(monkeypatch: pytest.MonkeyPatch, losses: dict[int, float]) -> None:
    """Let evaluations during training find these losses."""

    def evaluation_loop(self: SftRunTrainer, *_: Any, **__: Any) -> EvalLoopOutput:
        self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        return EvalLoopOutput(None, None, {"eval_loss": losses[self.state.global_step]}, num_samples=1)

    monkeypatch.setattr(SftRunTrainer, "evaluation_loop", evaluation_loop)


def train_to_the_end(job: Job, links: list[Link], training: dict[str, Any]) -> list[Link]:
    """Train with each of `links`, then as often as needed without interruption; return the links of all attempts."""
    for link in links:
        with suppress(CrashError):
            job.train(link, training=training)
    last = Link()
    job.train(last, training=training)
    return [*links, last]


def delivered(job: Job) -> tuple[int, bytes]:
    [weights] = (job.folder / "model").glob("*.safetensors")
    return read_manifest(job.folder / "model").step, weights.read_bytes()


def committed_steps(link: Link) -> list[int]:
    return [data["step"] for data in link.told(EventKind.CHECKPOINT)]


def check_marks(links: list[Link], losses: dict[int, float]) -> None:
    """A checkpoint that is marked as the best one has the eval loss of its own step."""
    marked = [data for link in links for data in link.told(EventKind.CHECKPOINT) if data["is_best"]]
    assert marked
    assert all(data["metrics"]["eval_loss"] == losses[data["step"]] for data in marked)


def test_an_evaluation_that_is_the_best_so_far_commits_its_step(job: Job, monkeypatch: pytest.MonkeyPatch):
    script(monkeypatch, LOSSES)
    link = Link()
    outcome = job.train(link, training=TRAINING)
    assert committed_steps(link) == [2, 3, 4, 6, 8]
    assert [data["step"] for data in link.told(EventKind.CHECKPOINT) if data["is_best"]] == [2, 4]
    assert outcome.delivered_step == 4
    assert job.checkpoints == [checkpoint_files.step_name(step) for step in (4, 6, 8)]
    check_marks([link], LOSSES)


def test_without_load_best_model_at_end_only_the_due_steps_are_saved(job: Job, monkeypatch: pytest.MonkeyPatch):
    script(monkeypatch, LOSSES)
    link = Link()
    outcome = job.train(link, training=TRAINING | {"load_best_model_at_end": False})
    assert committed_steps(link) == [3, 6, 8]
    assert outcome.delivered_step == 8


def test_the_earlier_of_two_equal_evaluations_is_the_best(job: Job, monkeypatch: pytest.MonkeyPatch):
    script(monkeypatch, {0: 5.0, 2: 3.0, 4: 2.0, 6: 2.0, 8: 2.0})
    link = Link()
    outcome = job.train(link, training=TRAINING)
    assert committed_steps(link) == [2, 3, 4, 6, 8]
    assert outcome.delivered_step == 4


def test_the_best_step_of_a_history():
    history = [
        {"step": 0, "eval_loss": 1.0},
        {"step": 1, "loss": 0.1},
        {"step": 2, "eval_loss": float("nan")},
        {"step": 3, "eval_loss": 2.0},
        {"step": 4, "eval_loss": 2.0},
    ]
    assert eval_losses(history) == {0: 1.0, 3: 2.0, 4: 2.0}
    assert best_evaluated_step(eval_losses(history)) == 3
    assert best_evaluated_step({0: 1.0}) is None


def test_when_no_evaluation_is_better_than_the_base_model_the_best_is_delivered_and_said_so(
    job: Job, monkeypatch: pytest.MonkeyPatch
):
    losses = {0: 2.0, 2: 3.0, 4: 2.0, 6: 2.5, 8: 2.25}
    script(monkeypatch, losses)
    link = Link()
    assert job.train(link, training=TRAINING).delivered_step == 4
    assert link.notices("eval_never_improved") == [
        "The evaluation loss never fell below the base model's: it was 2 before training and 2 at its lowest, "
        "at step 4; the checkpoint of step 4 was delivered."
    ]


def test_a_job_that_improved_says_nothing_of_the_base_model(job: Job, monkeypatch: pytest.MonkeyPatch):
    script(monkeypatch, LOSSES)
    link = Link()
    job.train(link, training=TRAINING)
    assert link.notices("eval_never_improved") == []


INTERRUPTIONS = [
    pytest.param([Dying(at_metrics=4)], id="killed between evaluation and commit"),
    pytest.param([Dying(at_phase=(Phase.EVALUATING, 4))], id="killed in the evaluation"),
    pytest.param([Dying(at_phase=(Phase.SAVING, 4))], id="killed in the commit"),
    pytest.param([Dying(at_commit=4)], id="killed after the commit"),
    pytest.param([Dying(at_metrics=4), Dying(at_phase=(Phase.SAVING, 4))], id="killed twice"),
    pytest.param([Link(stop_at={4: StopKind.PAUSE})], id="stopped before the evaluation"),
    pytest.param([Link(stop_in={(Phase.EVALUATING, 4): StopKind.PAUSE})], id="stopped in the evaluation"),
    pytest.param(
        [Link(stop_at={4: StopKind.PAUSE}), Link(stop_in={(Phase.EVALUATING, 4): StopKind.PAUSE})],
        id="stopped before the evaluation and again in it",
    ),
    pytest.param([Link(stop_at={4: StopKind.PAUSE}), Dying(at_metrics=4)], id="stopped, then killed after it"),
    pytest.param([Link(stop_at={5: StopKind.PAUSE})], id="stopped after the commit"),
    pytest.param([Link(stop_at={3: StopKind.DRAIN}), Link(stop_at={7: StopKind.DRAIN})], id="stopped elsewhere"),
    pytest.param([Dying(save_at={4}, at_phase=(Phase.EVALUATING, 4))], id="saved on request and killed"),
    pytest.param([Link(save_at={4, 5})], id="saved on request"),
]


@pytest.mark.parametrize("links", INTERRUPTIONS)
def test_an_interruption_changes_neither_the_best_checkpoint_nor_what_is_delivered(
    job: Job, train_once: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, links: list[Link]
):
    """Where no more than the newest checkpoint is kept beside the best one, which is the harder case."""
    script(monkeypatch, LOSSES)
    training = TRAINING | {"save_total_limit": 1}
    attempts = train_to_the_end(job, [type(link)(**vars(link)) for link in links], training)
    assert delivered(job) == delivered(train_once(training=TRAINING).job)
    assert delivered(job)[0] == 4
    check_marks(attempts, LOSSES)
    best = read_manifest(job.folder / "checkpoints" / checkpoint_files.step_name(4))
    assert (best.is_scheduled, best.metrics["eval_loss"]) == (True, LOSSES[4])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.sampled_from([1.0, 1.5, 2.0, 3.0]), min_size=7, max_size=7),
    eval_steps=st.integers(1, 3),
    save_steps=st.integers(1, 7),
    keep=st.integers(1, 3),
    stops=st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["stop", "stop in evaluation", "kill"])), max_size=2),
)
def test_the_lowest_evaluation_is_delivered(
    models: Path,
    job: Job,
    tmp_path_factory: pytest.TempPathFactory,
    values: list[float],
    eval_steps: int,
    save_steps: int,
    keep: int,
    stops: list[tuple[int, str]],
):
    losses = dict(enumerate(values))
    training = {"max_steps": 6, "eval_steps": eval_steps, "save_steps": save_steps, "save_total_limit": keep}
    links = {
        "stop": lambda step: Link(stop_at={step: StopKind.PAUSE}),
        "stop in evaluation": lambda step: Link(stop_in={(Phase.EVALUATING, step): StopKind.PAUSE}),
        "kill": lambda step: Dying(at_metrics=step),
    }
    tried = Job(tmp_path_factory.mktemp("job") / "job", models, job.rows, job.eval_rows)
    with pytest.MonkeyPatch.context() as monkeypatch:
        script(monkeypatch, losses)
        attempts = train_to_the_end(tried, [links[kind](step) for step, kind in stops], training)
    evaluated = [step for step in range(1, 7) if step % eval_steps == 0 or step == 6]
    assert delivered(tried)[0] == min(evaluated, key=lambda step: (losses[step], step))
    check_marks(attempts, losses)
