"""The delivered model is loaded again as its user will load it, and has the loss that was measured in training."""

import shutil
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, PreTrainedModel

from ftlab.errors import InvalidRequestError
from ftlab.schemas import EventKind
from ftlab.status import StopKind
from tests.support.tiny_models import make_tiny_model
from tests.unit.train.ranks import Task, train
from tests.unit.train.runs import Job, Link
from train import delivery
from train.delivery import FLOAT32_TOLERANCE, LOW_PRECISION_TOLERANCE
from train.loop.exact_resume import ExactResume
from train.loop.run_context import StopPoll
from train.methods.trainer_inputs import TrainerInputs
from train.model import load
from train.plan import Ending, Outcome, Phase

DELIVERING = (Phase.DELIVERING, 8)
"""Where a run that has trained 8 steps begins to deliver."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One base model with a head of its own, and one whose head is its embedding."""
    folder = tmp_path_factory.mktemp("models")
    make_tiny_model(folder / "org--tiny", scale=3.0)
    tied = AutoModelForCausalLM.from_pretrained(shutil.copytree(folder / "org--tiny", folder / "org--tied"))
    tied.config.tie_word_embeddings = True
    tied.tie_weights()
    tied.save_pretrained(folder / "org--tied")
    return folder


def final_loss(link: Link, step: int) -> float:
    """The loss of the delivered model, after a run that reported nothing unusual."""
    for code in ("final_eval_differs", "final_eval_failed", "final_eval_skipped"):
        assert link.notices(code) == []
    [(measured_at, loss)] = link.series("final_eval_loss").items()
    assert measured_at == step
    return loss


def check_final_loss(link: Link, outcome: Outcome, tolerance: float = FLOAT32_TOLERANCE) -> None:
    assert outcome.delivered_step is not None
    best = link.series("eval_loss")[outcome.delivered_step]
    assert final_loss(link, outcome.delivered_step) == pytest.approx(best, rel=tolerance, abs=tolerance)


LORA: dict[str, Any] = {"r": 4, "lora_alpha": 8}
FULL: dict[str, Any] = {"tuning": "full", "training": {"learning_rate": 0.003}}
CONFIGS = [
    pytest.param({}, id="lora"),
    pytest.param({"lora": LORA | {"lora_dropout": 0.3}}, id="dropout"),
    pytest.param({"load_in_4bit": True}, id="4-bit"),
    pytest.param({"load_in_4bit": True, "lora": LORA | {"use_dora": True}}, id="4-bit dora"),
    pytest.param(FULL, id="full"),
    pytest.param({"method": {"type": "sft", "max_length": 64, "packing": True}}, id="packing"),
    pytest.param({"training": {"gradient_checkpointing": True}}, id="checkpointing"),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_delivered_files_have_the_loss_of_the_best_evaluation(job: Job, config: dict[str, Any]):
    link = Link()
    outcome = job.train(link, **config)
    check_final_loss(link, outcome)
    assert link.series("eval_loss")[0] > link.series("final_eval_loss")[8] + 0.1, "the base model alone would differ"


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="lora"),
        pytest.param(FULL, id="full"),
    ],
)
def test_tied_embeddings_are_delivered_as_they_were_trained(job: Job, config: dict[str, Any]):
    job.model = "org/tied"
    link = Link()
    check_final_loss(link, job.train(link, **config))


def test_an_adapter_on_tied_embeddings_is_refused(job: Job):
    """Merged, it would change the output layer as well, which was not trained."""
    job.model = "org/tied"
    with pytest.raises(InvalidRequestError, match="tie_word_embeddings"):
        job.train(lora=LORA | {"target_modules": ["q_proj", "embed_tokens"]})


@pytest.mark.parametrize(
    ("before", "config"),
    [
        pytest.param({}, {}, id="lora"),
        pytest.param({"lora": LORA | {"use_dora": True}}, {}, id="dora"),
        pytest.param({}, {"load_in_4bit": True}, id="4-bit"),
        pytest.param({}, FULL, id="full"),
    ],
)
def test_a_job_on_top_of_an_adapter_delivers_what_it_measured(
    job: Job, tmp_path: Path, before: dict[str, Any], config: dict[str, Any]
):
    job.train(**before)
    follower = Job(tmp_path / "follower", job.models, job.rows, job.eval_rows, model=str(job.folder / "model"))
    link = Link()
    check_final_loss(link, follower.train(link, **(before | config)))


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"training": {"bf16": True}}, id="mixed"),
        pytest.param({"training": {"dtype": "bfloat16"}}, id="bfloat16"),
        pytest.param({"tuning": "full", "training": {"dtype": "bfloat16"}}, id="full bfloat16"),
    ],
)
def test_16_bit_models_stay_within_their_tolerance(job: Job, config: dict[str, Any]):
    link = Link()
    check_final_loss(link, job.train(link, **config), LOW_PRECISION_TOLERANCE)


def test_the_best_step_is_evaluated_and_the_job_stays_at_its_last(job: Job):
    training = {"learning_rate": 0.05, "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "eval_steps": 1}
    link = Link()
    outcome = job.train(link, training=training | {"max_steps": 6, "save_steps": 50})
    assert outcome.delivered_step is not None
    assert outcome.delivered_step < 6
    check_final_loss(link, outcome)
    *_, metrics, (kind, progress) = link.events
    assert list(metrics[1]["values"]) == ["final_eval_loss"]
    assert (kind, progress["step"], progress["total_steps"]) == (EventKind.PROGRESS, 6, 6)


@pytest.mark.slow
def test_two_workers_deliver_once(job: Job, tmp_path: Path):
    [trained] = train(tmp_path / "ranks", [Task(job, {}, {"training": {"max_steps": 3}})], workers=2)
    assert [outcome["delivered_step"] for outcome in trained.outcomes] == [3, None]
    assert final_loss(trained.link, 3) == pytest.approx(trained.link.series("eval_loss")[3], rel=FLOAT32_TOLERANCE)


def test_a_model_that_is_not_what_was_measured_is_reported(job: Job, monkeypatch: pytest.MonkeyPatch):
    """As if the adapter had been lost on the way."""

    def load_base(base: Any, folder: Path, config: Any, *, use_cuda: bool) -> PreTrainedModel:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(base.folder)
        return model

    monkeypatch.setattr(delivery, "load_delivered", load_base)
    link = Link()
    assert job.train(link).delivered_step == 8
    loss, measured = link.series("final_eval_loss")[8], link.series("eval_loss")[8]
    assert loss == pytest.approx(link.series("eval_loss")[0])
    assert link.notices("final_eval_differs") == [
        f"The tuned model has an evaluation loss of {loss:.6g}, but {measured:.6g} was measured at step 8 during "
        "training."
    ]


def test_a_difference_of_rounding_is_not_reported(job: Job, monkeypatch: pytest.MonkeyPatch):
    link = Link()
    monkeypatch.setattr(
        delivery, "find_evaluate", lambda _: lambda *_, **__: {"loss": link.series("eval_loss")[8] * (1 + 0.9e-5)}
    )
    job.train(link)
    assert final_loss(link, 8) == link.series("eval_loss")[8] * (1 + 0.9e-5)


def test_a_check_that_fails_does_not_fail_the_job(job: Job, monkeypatch: pytest.MonkeyPatch):
    def load_nothing(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(delivery, "load_delivered", load_nothing)
    link = Link()
    outcome = job.train(link)
    assert (outcome.ending, outcome.delivered_step) == (Ending.FINISHED, 8)
    assert link.series("final_eval_loss") == {}
    assert link.notices("final_eval_failed") == [
        "The model was delivered, but evaluating it failed (device_oom). The job's log has the traceback."
    ]


@pytest.mark.parametrize("kind", [StopKind.CANCEL, StopKind.PAUSE, StopKind.TIME_LIMIT])
def test_a_stop_ends_the_check_and_keeps_the_delivery(job: Job, kind: StopKind):
    link = Link(stop_in={DELIVERING: kind})
    outcome = job.train(link)
    assert (outcome.ending, outcome.stop, outcome.delivered_step) == (Ending.FINISHED, None, 8)
    assert link.series("final_eval_loss") == {}
    assert link.notices("final_eval_skipped") == [
        f"The model was delivered, but not evaluated: the run was asked to stop ({kind})."
    ]
    assert "adapter_model.safetensors" in job.delivered


def test_a_time_limit_that_is_used_up_meanwhile_ends_the_check(job: Job, monkeypatch: pytest.MonkeyPatch):
    """After the last step the run only has to deliver, whatever the time."""
    link = Link()

    def clock() -> float:
        return 1000.0 if any(beat.phase == Phase.DELIVERING for beat in link.beats) else 0.0

    monkeypatch.setattr("train.loop.run_context.StopPoll", partial(StopPoll, clock=clock))
    outcome = job.train(link, time_left_s=500.0)
    assert outcome.delivered_step == 8
    assert len(link.notices("final_eval_skipped")) == 1


def test_the_run_shows_that_it_lives_while_it_evaluates(job: Job):
    link = Link()
    job.train(link, training={"per_device_eval_batch_size": 1})
    phases = [beat.phase for beat in link.beats]
    after = phases[phases.index(Phase.DELIVERING) :]
    assert after == [Phase.DELIVERING, Phase.LOADING, Phase.LOADING, *[Phase.EVALUATING] * 6]


def test_the_trained_model_is_gone_when_the_delivered_one_is_loaded(job: Job, monkeypatch: pytest.MonkeyPatch):
    trained: list[weakref.ref[Any]] = []
    alive: list[bool] = []

    def make_trainer(inputs: TrainerInputs) -> ExactResume:
        from train.methods import make_trainer

        trainer = make_trainer(inputs)
        trained.extend([weakref.ref(trainer.model), weakref.ref(inputs.model)])
        return trainer

    def load_delivered(*args: Any, **options: Any) -> Any:
        alive.extend(model() is not None for model in trained)
        return load.load_delivered(*args, **options)

    monkeypatch.setattr("train.run.make_trainer", make_trainer)
    monkeypatch.setattr(delivery, "load_delivered", load_delivered)
    job.train()
    assert alive == [False, False]


class KilledError(BaseException):
    """Plays a kill, which no code catches."""


def test_a_retry_does_not_die_where_the_attempt_before_died(job: Job, monkeypatch: pytest.MonkeyPatch):
    """Too little memory for the delivered model would end every attempt in the same place."""

    def die(*_: Any, **__: Any) -> None:
        raise KilledError

    with monkeypatch.context() as killing:
        killing.setattr(delivery, "load_delivered", die)
        with pytest.raises(KilledError):
            job.train()
    retry, later = Link(), Link()
    outcome = job.train(retry)
    assert (outcome.ending, outcome.delivered_step) == (Ending.FINISHED, 8)
    assert retry.series("final_eval_loss") == {}
    assert retry.notices("final_eval_skipped") == [
        "The model was delivered, but not evaluated: an earlier attempt ended abruptly while it did so."
    ]
    check_final_loss(later, job.train(later, training={"max_steps": 10}))


def test_without_eval_rows_there_is_nothing_to_evaluate(job: Job):
    job.eval_rows = None
    link = Link()
    job.train(link)
    assert link.series("final_eval_loss") == {}
    assert link.told(EventKind.NOTICE) == []
