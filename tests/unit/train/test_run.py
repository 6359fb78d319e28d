"""Whole runs on the tiny model: what is told, kept and delivered."""

import json
import math
import shutil
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from ftlab.errors import ConflictError, FineTuneLabError, InvalidRequestError
from ftlab.schemas import EventKind
from ftlab.status import ReasonCode
from tests.support.rows import encode, read_rows
from tests.unit.train.runs import MODEL, Job, Link, write_messages, write_rows
from train.checkpoints import checkpoint_files
from train.data.rows.errors import DatasetInvalidError
from train.data.tokens.encode import IGNORE
from train.failures.classify import classify
from train.failures.errors import LossDivergedError
from train.model.base_model import find_model, fingerprint
from train.model.tokenizer import load_tokenizer
from train.plan import Ending, LocalBase, Outcome
from train.run import run

OVERSHOOTING = {
    "learning_rate": 0.3,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0,
    "max_steps": 6,
    "eval_steps": 1,
    "save_steps": 1,
}
"""The learning rate is too high to be good: the best step is not the last."""


def eval_loss_of(model: torch.nn.Module, job: Job) -> float:
    """The mean loss over all learned tokens, computed without the trainer."""
    assert job.eval_rows is not None
    tokenizer = load_tokenizer(find_model(MODEL, job.models))
    rows = encode(read_rows(job.eval_rows), tokenizer, max_length=64, assistant_only_loss=True)
    total, count = 0.0, 0
    model.eval()
    with torch.no_grad():
        for row in rows:
            assert row.labels is not None
            learned = sum(label != IGNORE for label in row.labels[1:])
            loss = model(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
            total, count = total + loss.item() * learned, count + learned
    return total / count


def test_a_run_trains_and_delivers_an_adapter(job: Job):
    link = Link()
    outcome = job.train(link)
    revision = fingerprint(job.models / "org--tiny")
    assert outcome == Outcome(
        Ending.FINISHED, 8, saved_step=8, delivered_step=8, base_model=MODEL, base_revision=revision
    )
    [loaded] = link.loaded
    assert loaded.revision == revision
    losses = link.series("loss")
    assert list(losses) == list(range(1, 9))
    assert losses[8] < losses[1] - 0.3
    assert list(link.series("eval_loss")) == [0, 8]
    assert job.checkpoints == ["step-00000003", "step-00000006", "step-00000008"]
    assert [step for step, _ in link.reported] == [3, 6, 8]
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= set(job.delivered)
    assert not {"optimizer.pt", "scheduler.pt", "trainer_state.json", "training_args.bin", "rng_state.pth"} & set(
        job.delivered
    )
    checkpoint_files.verify(job.folder / "model")


def test_every_series_is_told_at_every_step(job: Job):
    link = Link()
    job.train(link, training={"eval_steps": 4})
    for name in ("loss", "learning_rate", "grad_norm", "num_tokens", "step_time_s", "data_wait_s"):
        assert list(link.series(name)) == list(range(1, 9)), name
    assert list(link.series("eval_loss")) == [0, 4, 8]
    tokens = link.series("num_tokens")
    assert all(tokens[step] < tokens[step + 1] for step in range(1, 8))
    last = link.told(EventKind.METRICS)[-1]
    assert (last["step"], last["total_steps"], last["eta_s"]) == (8, 8, 0.0)
    assert last["epoch"] == 1.0


def test_the_time_of_a_run_is_told_by_part(job: Job):
    link = Link()
    began = time.perf_counter()
    job.train(link, training={"eval_steps": 4})
    lasted_s = time.perf_counter() - began
    told = [data["times_s"] for data in link.told(EventKind.METRICS) if "times_s" in data]
    assert set(told[-1]) == {"data", "forward", "backward", "optimizer", "evaluation", "saving"}
    assert all(before.get(part, 0) <= after[part] for before, after in pairwise(told) for part in after)
    steps_s = sum(link.series("step_time_s").values())
    inside = sum(told[-1][part] for part in ("forward", "backward", "optimizer"))
    assert 0.5 * steps_s < inside <= steps_s + 0.01
    assert told[-1]["data"] == pytest.approx(sum(link.series("data_wait_s").values()), abs=0.002)
    saved = link.told(EventKind.CHECKPOINT)[-1]["times_s"]
    assert saved["saving"] > told[-1]["saving"]
    assert sum(saved.values()) < lasted_s


def test_what_is_told_of_a_checkpoint_is_true(job: Job):
    link = Link()
    job.train(link, training={"eval_steps": 3, "save_total_limit": 1})
    told = link.told(EventKind.CHECKPOINT)
    assert [(data["step"], data["name"]) for data in told] == [
        (3, "step-00000003"),
        (6, "step-00000006"),
        (8, "step-00000008"),
    ]
    assert [data["is_best"] for data in told] == [True, True, True]
    assert [data["removed_steps"] for data in told] == [[], [3], [6]]
    assert job.checkpoints == ["step-00000008"]
    manifest = checkpoint_files.verify(job.folder / "checkpoints" / "step-00000008")
    assert told[-1]["size_bytes"] == manifest.size_bytes
    assert told[-1]["metrics"] == manifest.metrics
    assert manifest.metrics["eval_loss"] == link.series("eval_loss")[8]
    assert (manifest.samples, manifest.attempt) == (16, 1)


@pytest.mark.parametrize("former", [None, "full", "lora"])
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_no_file_of_a_model_or_checkpoint_names_a_path_of_this_machine(
    job: Job, tmp_path: Path, tuning: str, former: str | None
):
    short: dict[str, Any] = {"max_steps": 2, "save_steps": 1}
    if former is not None:
        start = Job(tmp_path / "former", job.models, job.rows)
        start.train(tuning=former, training=short)
        job.model = str(start.folder / "model")
        job.local_base = LocalBase("model:mdl-1", start.folder / "model") if former == "full" else None
    job.train(tuning=tuning, training=short)
    if tuning == "lora":
        config = json.loads((job.folder / "model" / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == ("model:mdl-1" if former == "full" else MODEL)
    files = [path for part in ("model", "checkpoints") for path in (job.folder / part).rglob("*") if path.is_file()]
    assert len(files) > 10
    for file in files:
        content = file.read_bytes()
        for folder in (job.models, tmp_path, Path.cwd()):
            assert str(folder).encode() not in content, file.relative_to(job.folder)


def test_the_delivered_adapter_has_the_eval_loss_of_the_best_checkpoint(job: Job):
    link = Link()
    outcome = job.train(link, training=OVERSHOOTING | {"save_total_limit": 1})
    losses = link.series("eval_loss")
    saved = {step: loss for step, loss in losses.items() if step > 0}
    best = min(saved, key=lambda step: (saved[step], step))
    assert outcome.delivered_step == best < 6
    assert job.checkpoints == [checkpoint_files.step_name(best), "step-00000006"]
    base = AutoModelForCausalLM.from_pretrained(job.models / "org--tiny")
    adapted = PeftModel.from_pretrained(base, job.folder / "model")
    assert eval_loss_of(adapted, job) == pytest.approx(losses[best], rel=1e-4)
    turn_end = AutoTokenizer.from_pretrained(job.folder / "model").convert_tokens_to_ids("<|im_end|>")
    assert turn_end in GenerationConfig.from_pretrained(job.folder / "model").eos_token_id


def test_the_last_checkpoint_is_delivered_where_the_best_is_not_wanted(job: Job):
    job.train(training=OVERSHOOTING | {"load_best_model_at_end": False})
    assert checkpoint_files.verify(job.folder / "model").step == 6


def test_without_eval_rows_nothing_is_evaluated(job: Job):
    job.eval_rows = None
    link = Link()
    assert job.train(link).delivered_step == 8
    assert link.series("eval_loss") == {}


def test_a_broken_best_checkpoint_is_not_delivered(job: Job, monkeypatch: pytest.MonkeyPatch):
    class Breaking(Link):
        def report_checkpoint(self, step: int, folder: Path) -> None:
            if step == 8:
                (folder / "adapter_model.safetensors").write_bytes(b"torn")

    link = Breaking()
    outcome = job.train(link, training={"eval_steps": 3})
    assert outcome.delivered_step == 6
    assert checkpoint_files.verify(job.folder / "model").step == 6
    assert link.notices("checkpoint_corrupt") == [
        "A checkpoint was set aside: step-00000008/adapter_model.safetensors does not match its checksum."
    ]


def test_when_every_checkpoint_is_broken_nothing_is_delivered(job: Job):
    class Breaking(Link):
        def report_checkpoint(self, step: int, folder: Path) -> None:
            (folder / "adapter_model.safetensors").write_bytes(b"torn")

    with pytest.raises(FineTuneLabError) as caught:
        job.train(Breaking())
    assert classify(caught.value, job.folder).reason is ReasonCode.CHECKPOINT_CORRUPT
    assert not (job.folder / "model").exists()


def test_full_fine_tuning_delivers_a_whole_model(job: Job):
    link = Link()
    job.train(link, tuning="full", training={"learning_rate": 0.003})
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(job.delivered)
    assert link.series("loss")[8] < link.series("loss")[1] - 1
    model = AutoModelForCausalLM.from_pretrained(job.folder / "model")
    assert eval_loss_of(model, job) == pytest.approx(link.series("eval_loss")[8], rel=1e-4)


def test_4_bit_training_learns_also_after_an_evaluation(job: Job):
    """The loss of a run that evaluates at every step is that of one that evaluates at its end only."""
    often, seldom = Link(), Link()
    job.train(often, load_in_4bit=True, training={"eval_steps": 1})
    shutil.rmtree(job.folder)
    job.train(seldom, load_in_4bit=True)
    assert often.series("loss") == seldom.series("loss")
    assert often.series("loss")[8] < often.series("loss")[1] - 0.3


@pytest.mark.parametrize("options", [{"bf16": True}, {"gradient_checkpointing": True}, {"dtype": "bfloat16"}])
def test_options_that_save_memory_train_too(job: Job, options: dict[str, object]):
    link = Link()
    assert job.train(link, training=options).ending is Ending.FINISHED
    assert link.series("loss")[8] < link.series("loss")[1]


def test_epochs_count_when_no_steps_are_given(job: Job):
    link = Link()
    outcome = job.train(link, training={"max_steps": None, "num_train_epochs": 1.5, "gradient_accumulation_steps": 2})
    assert outcome.step == 6
    assert link.told(EventKind.METRICS)[-1]["total_steps"] == 6


def test_an_adapter_of_a_former_job_goes_on_being_trained(job: Job, tmp_path: Path):
    first, second = Link(), Link()
    job.train(first)
    follower = Job(tmp_path / "follower", job.models, job.rows, job.eval_rows, model=str(job.folder / "model"))
    outcome = follower.train(second)
    assert second.series("eval_loss")[0] == pytest.approx(first.series("eval_loss")[8], rel=1e-5)
    assert second.series("eval_loss")[8] < second.series("eval_loss")[0]
    assert (outcome.base_model, outcome.base_revision) == (MODEL, fingerprint(job.models / "org--tiny"))
    config = json.loads((follower.folder / "model" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"]) == (MODEL, 4)


def test_a_whole_model_is_trained_on_from_an_adapter(job: Job, tmp_path: Path):
    first, second = Link(), Link()
    job.train(first)
    follower = Job(tmp_path / "follower", job.models, job.rows, job.eval_rows, model=str(job.folder / "model"))
    follower.train(second, tuning="full", training={"learning_rate": 0.003})
    assert second.series("eval_loss")[0] == pytest.approx(first.series("eval_loss")[8], rel=1e-4)
    assert second.series("eval_loss")[8] < second.series("eval_loss")[0]
    assert "model.safetensors" in follower.delivered


@pytest.mark.parametrize("logging_steps", [1, 50])
def test_a_loss_that_is_no_number_ends_the_run(job: Job, tmp_path: Path, logging_steps: int):
    """Also when the run is over before a step is logged: a ruined model is never delivered."""
    models = Path(shutil.copytree(job.models, tmp_path / "ruined"))
    model = AutoModelForCausalLM.from_pretrained(models / "org--tiny")
    with torch.no_grad():
        model.model.norm.weight.fill_(math.nan)
    model.save_pretrained(models / "org--tiny")
    job.models, job.eval_rows = models, None
    link = Link()
    with pytest.raises(LossDivergedError, match=r"(?i)loss .*became .*nan at step \d") as caught:
        job.train(link, training={"logging_steps": logging_steps})
    assert classify(caught.value, job.folder).reason is ReasonCode.LOSS_DIVERGED
    assert not (job.folder / "model").exists()
    assert not any(math.isnan(value) for data in link.told(EventKind.METRICS) for value in data["values"].values())


def test_a_run_shorter_than_its_logging_interval_tells_its_last_step(job: Job):
    link = Link()
    job.train(link, training={"logging_steps": 5})
    assert list(link.series("loss")) == [5, 8]


def test_rows_that_were_cut_are_told(job: Job, tmp_path: Path):
    long = [{"role": "user", "content": "word " * 200}, {"role": "assistant", "content": "Yes."}]
    cut = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "word " * 200}]
    short = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    job.rows = write_messages(tmp_path / "rows.arrow", [long, cut, short, short])
    link = Link()
    job.train(link, training={"max_steps": 1})
    [message] = link.notices("rows_cut")
    assert message.startswith("Of the train rows, 2 were truncated to 64 tokens (")
    assert "and 1 were skipped" in message


def test_of_several_files_the_one_whose_rows_were_cut_is_told(job: Job, tmp_path: Path):
    long = [{"role": "user", "content": "word " * 200}, {"role": "assistant", "content": "Yes."}]
    short = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = [write_messages(tmp_path / f"{number}.arrow", [short, *more]) for number, more in enumerate([[], [long]])]
    job.rows, job.eval_rows = rows, rows[1]
    link = Link()
    job.train(link, training={"max_steps": 1})
    of_train, of_eval = link.notices("rows_cut")
    assert of_train.startswith("Of the rows of dataset ds-2, 1 were truncated to 64 tokens (")
    assert of_eval.startswith("Of the eval rows, 1 were truncated to 64 tokens (")


def test_rows_that_fit_are_not_worth_a_word(job: Job):
    link = Link()
    job.train(link, training={"max_steps": 1})
    assert link.told(EventKind.NOTICE) == []


def test_a_dataset_without_a_word_to_learn_is_the_users_to_mend(job: Job, tmp_path: Path):
    job.rows = write_messages(tmp_path / "rows.arrow", [[{"role": "user", "content": "Hi"}]])
    with pytest.raises(DatasetInvalidError) as caught:
        job.train()
    failure = classify(caught.value, job.folder)
    assert failure.reason is ReasonCode.DATASET_INVALID
    assert failure.message.startswith("Dataset ds-1: None of the 1 rows has a token to train on")


def test_rows_to_evaluate_on_without_a_word_to_learn_are_named(job: Job, tmp_path: Path):
    job.eval_rows = write_messages(tmp_path / "held-out.arrow", [[{"role": "user", "content": "Hi"}]])
    with pytest.raises(DatasetInvalidError, match=r"^The eval dataset ds-held-out: None of the 1 rows has a token"):
        job.train(eval_dataset="ds-held-out")


def test_a_base_model_that_changed_between_two_attempts_is_refused(job: Job):
    job.pinned = "local-0123456789abcdef"
    with pytest.raises(ConflictError) as caught:
        job.train()
    assert caught.value.code == "model_changed"
    job.pinned = fingerprint(job.models / "org--tiny")
    assert run(job.plan(training={"max_steps": 1}), Link()).step == 1


def test_runs_of_one_seed_are_the_same_and_of_another_are_not(job: Job, tmp_path: Path):
    series = []
    for seed in (7, 7, 8):
        link = Link()
        Job(tmp_path / f"job-{len(series)}", job.models, job.rows).train(link, training={"seed": seed, "max_steps": 3})
        series.append(link.series("loss"))
    assert series[0] == series[1] != series[2]


def test_more_rows_than_one_epoch_of_steps_are_enough(job: Job, tmp_path: Path):
    job.rows = write_rows(tmp_path / "three.arrow", 3)
    link = Link()
    assert job.train(link).step == 8
    assert link.told(EventKind.METRICS)[-1]["epoch"] == pytest.approx(4.0)


def test_a_warm_up_longer_than_the_run_is_reported_with_both_numbers(job: Job):
    link = Link()
    job.train(link, training={"max_steps": None, "num_train_epochs": 0.25, "warmup_steps": 100})
    [message] = link.notices("warmup_too_long")
    assert "100 steps" in message
    assert "the run has 2" in message


def test_steps_that_several_files_do_not_have_are_reported_with_both_numbers(job: Job, tmp_path: Path):
    assert isinstance(job.rows, Path)
    job.rows = [job.rows, write_rows(tmp_path / "more.arrow", 2)]
    link = Link()
    assert job.train(link, training={"max_steps": 100, "num_train_epochs": 0.25}).step == 3
    [message] = link.notices("max_steps_unreached")
    assert "3 steps, and not 100" in message
    assert "0.25 epochs" in message


def test_rows_beyond_the_positions_of_the_model_are_reported_with_both_numbers(job: Job, models: Path, tmp_path: Path):
    job.models = Path(shutil.copytree(models, tmp_path / "models"))
    file = job.models / "org--tiny" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_position_embeddings": 8}))
    link = Link()
    job.train(link, training={"max_steps": 1})
    assert "made for 8 positions" in link.notices("rows_beyond_positions")[0]


@pytest.mark.parametrize("names", [["query"], ["q_proj", "query"], ["mlp"], ["lm_head"]])
def test_targets_that_the_loaded_model_lacks_are_the_users_mistake(job: Job, tmp_path: Path, names):
    with pytest.raises(InvalidRequestError) as caught:
        job.train(lora={"target_modules": names})
    assert classify(caught.value, tmp_path).reason is ReasonCode.CONFIG_INVALID
