"""The analysis of failures that runs really reported (`provoke` made the fixtures), and its suggestions."""

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ftlab.schemas import JobConfig
from ftlab.schemas.events import LOSS_FLAT
from ftlab.schemas.failure_text import failure_lines, failure_markdown
from ftlab.schemas.failures import FailureAnalysis
from ftlab.status import CAUSES, FailureCause, Phase, ReasonCode
from tests.unit.train.failures.provoke import POISONED_LINE, PROVOKED, hung_run, provoke
from tests.unit.train.failures.reports import CPU, FIXTURES, GPU, reported
from train.estimate.alternatives import changed
from train.estimate.job_memory import JobMemory
from train.failures.analyse import analyse
from train.failures.facts import FailureFacts, SavedCheckpoint
from train.failures.stacks import training_frames
from train.failures.traceback_text import error_line, innermost_frame, phase_of
from train.plan import Failure

C, R = FailureCause, ReasonCode
SAVED = (
    SavedCheckpoint("step-00000200", 200, 10**8, 1.4),
    SavedCheckpoint("step-00000150", 150, 10**8, 1.3, is_best=True),
    SavedCheckpoint("step-00000100", 100, 10**8),
)
LOSSES = {"loss": [(198, 2.1), (199, 2.2), (200, 9.0)], "grad_norm": [(198, 1.2), (199, 1.0), (200, 80.0)]}


def config(training: dict[str, Any] | None = None, **values: Any) -> JobConfig:
    training = {"per_device_train_batch_size": 16, "per_device_eval_batch_size": 16, "max_steps": 400} | (
        training or {}
    )
    document = {"model": "org/tiny", "dataset": "ds-1", "eval_dataset": "ds-2", "training": training}
    return JobConfig.model_validate(document | {"method": {"type": "sft", "max_length": 2048}} | values).resolved()


def facts(failure: Failure | ReasonCode, **values: Any) -> FailureFacts:
    if isinstance(failure, ReasonCode):
        failure = Failure(failure, "It ended.")
    known = {"config": config(), "step": 200, "total_steps": 400, "has_stepped": True, "metrics": LOSSES}
    return FailureFacts(failure, 2, **{**known, "checkpoints": SAVED, "memory": GPU, **values})


def fields(analysis: FailureAnalysis) -> list[list[str]]:
    return [[change.field.rpartition(".")[2] for change in found.changes] for found in analysis.suggestions]


EXPECTED: dict[str, tuple[FailureCause, Phase | None, str, str]] = {
    "gpu_memory_training": (C.GPU_MEMORY_TRAINING, Phase.TRAINING, "certain", "Tried to allocate 2.61 GiB"),
    "gpu_memory_evaluation": (C.GPU_MEMORY_EVALUATION, Phase.EVALUATING, "certain", "Computed peak of an evaluation"),
    "host_memory_training": (C.HOST_MEMORY, Phase.TRAINING, "certain", "DefaultCPUAllocator"),
    "host_memory_evaluation": (C.HOST_MEMORY, Phase.EVALUATING, "certain", "DefaultCPUAllocator"),
    "cuda_error": (C.CUDA_ERROR, Phase.TRAINING, "likely", "an illegal memory access"),
    "gpu_lost": (C.GPU_LOST, Phase.TRAINING, "certain", "unknown error"),
    "gpu_not_supported": (C.BAD_CONFIG, Phase.TRAINING, "certain", "not compiled with CUDA"),
    "collective_lost": (C.COLLECTIVE_LOST, None, "likely", "Connection closed by peer"),
    "diverged": (C.DIVERGED, Phase.SAVING, "certain", "9 (step 200)"),
    "poisoned_row": (C.DIVERGED, Phase.TRAINING, "certain", f"Rows of step 8: dataset ds-1, lines 6, {POISONED_LINE}."),
    "disk_full": (C.DISK_FULL, Phase.SAVING, "certain", "worker_crashed (1)"),
    "bad_data": (C.BAD_DATA, Phase.LOADING, "certain", "worker_crashed (1)"),
    "bad_config": (C.BAD_CONFIG, None, "certain", "The setting at fault is training.dtype."),
    "chat_template": (C.TOKENIZER, Phase.LOADING, "certain", "The setting at fault is model."),
    "tokenizer": (C.TOKENIZER, Phase.LOADING, "certain", "The setting at fault is model."),
    "token_without_embedding": (C.TOKENIZER, None, "certain", "index out of range in self"),
    "model_damaged": (C.MODEL_DAMAGED, Phase.LOADING, "certain", "The setting at fault is model."),
    "model_not_found": (C.MODEL_NOT_FOUND, Phase.LOADING, "certain", "The setting at fault is model."),
    "model_gated": (C.MODEL_GATED, None, "certain", "GatedRepoError"),
    "internal_error": (C.INTERNAL_ERROR, Phase.TRAINING, "possible", "KeyError: 'x'"),
}


@pytest.mark.parametrize("name", PROVOKED)
def test_what_runs_reported(name: str):
    cause, phase, confidence, evidence = EXPECTED[name]
    found = analyse(facts(reported(name), earlier=("worker_crashed",)))
    assert (found.cause, found.phase, found.confidence) == (cause, phase, confidence)
    assert any(evidence in line for line in found.evidence), found.evidence
    assert re.match(r"^\S.*\.$", found.sentence), found.sentence
    assert found.reason == reported(name).reason
    assert FailureAnalysis.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("name", ["gpu_memory_evaluation", "poisoned_row", "chat_template"])
def test_a_run_of_today_reports_the_same(name: str, tmp_path: Path):
    now, then = provoke(name, tmp_path), reported(name)
    assert (now.reason, now.cause, now.field, now.notes) == (then.reason, then.cause, then.field, then.notes)
    assert phase_of(now.traceback) is EXPECTED[name][1]
    assert error_line(now.traceback) == error_line(then.traceback)


@pytest.mark.slow  # 20 runs
@pytest.mark.parametrize("name", PROVOKED)
def test_every_run_of_today_reports_the_same(name: str, tmp_path: Path):
    now, then = provoke(name, tmp_path), reported(name)
    assert (now.reason, now.cause, now.field) == (then.reason, then.cause, then.field)
    assert phase_of(now.traceback) is phase_of(then.traceback)


@pytest.mark.slow  # starts a process, and waits until it has imported everything
def test_the_stacks_of_a_run_of_today(tmp_path: Path):
    assert training_frames(hung_run(tmp_path))[0].startswith("Worker 0 is in stuck (")


# Causes without an error


@pytest.mark.parametrize("reason", CAUSES)
def test_every_reason_of_a_failure_is_analysed_even_if_nothing_else_is_known(reason: ReasonCode):
    found = analyse(FailureFacts(Failure(reason, "It ended."), 0))
    assert found.cause == CAUSES[reason]
    assert found.sentence.endswith(".")
    assert (found.suggestions, found.resume_from) == ([], None)


@pytest.mark.parametrize(
    ("phase", "cause", "confidence"),
    [
        (Phase.TRAINING, C.GPU_MEMORY_TRAINING, "likely"),
        (Phase.EVALUATING, C.GPU_MEMORY_EVALUATION, "likely"),
        (Phase.LOADING, C.GPU_MEMORY, "certain"),
        (None, C.GPU_MEMORY, "certain"),
    ],
)
def test_without_a_traceback_the_newest_phase_counts_and_is_less_sure(phase: Phase, cause: str, confidence: str):
    found = analyse(facts(R.DEVICE_OOM, phase=phase))
    assert (found.cause, found.confidence) == (cause, confidence)


def test_a_silent_end_while_the_kernel_killed_for_memory():
    killed = Failure(R.WORKER_CRASHED, "It exited.", cause=C.HOST_MEMORY, notes=("The kernel killed 1 process.",))
    found = analyse(facts(killed, memory=CPU, phase=Phase.TRAINING, log_tail=("Loading weights",)))
    assert (found.cause, found.confidence, found.reason) == (C.HOST_MEMORY, "likely", R.WORKER_CRASHED)
    assert found.evidence[0] == "The kernel killed 1 process."
    assert fields(found)[0] == ["per_device_train_batch_size", "gradient_accumulation_steps"]
    warning = ("/lib/python/transformers/modeling.py:3312: FutureWarning: `x` is deprecated.", "  warnings.warn(")
    alone = analyse(facts(R.WORKER_CRASHED, log_tail=("Loading weights", "Step 3", *warning)))
    assert (alone.cause, alone.evidence) == (C.KILLED, ["Last log line: Loading weights", "Last log line: Step 3"])


def test_a_time_limit_and_a_flat_loss():
    late = facts(R.TIME_LIMIT, run_time_s=1000.0, config=config(time_limit_s=1000))
    assert analyse(late).suggestions[0].changes[0].to == 2200  # half of the steps, and a tenth in reserve
    flat = analyse(replace(late, alarms=frozenset({LOSS_FLAT})))
    assert (flat.cause, flat.confidence) == (C.LEARNED_NOTHING, "likely")
    assert flat.suggestions[0].changes[0].to == pytest.approx(6e-4)


def test_a_cost_limit_and_what_all_steps_would_cost():
    capped = facts(R.COST_LIMIT, spent=Decimal("10.02"), config=config(max_cost="10"))
    found = analyse(capped)
    assert (found.cause, found.confidence) == (C.COST_LIMIT, "certain")
    [change] = found.suggestions[0].changes
    assert (change.from_, change.to) == ("10", "22.05")  # half of the steps, and a tenth in reserve
    assert analyse(replace(capped, alarms=frozenset({LOSS_FLAT}))).cause == C.LEARNED_NOTHING


# Suggestions


def applied(analysis: FailureAnalysis, number: int, before: JobConfig) -> JobConfig:
    changes = {change.field: change.to for change in analysis.suggestions[number].changes}
    return changed(before, 0, changes, "").config


@pytest.mark.parametrize("name", ["gpu_memory_training", "gpu_memory_evaluation"])
def test_the_effect_on_memory_is_that_of_the_estimate(name: str):
    before = config()
    found = analyse(facts(reported(name)))
    bytes_of = GPU.evaluation_bytes if "evaluation" in name else GPU.training_bytes
    now = bytes_of(before, GPU.length(before))
    assert len(found.suggestions) >= 3
    for number, suggested in enumerate(found.suggestions):
        after = applied(found, number, before)
        length = min(GPU.length(before), after.method.max_length)
        assert suggested.bytes_saved == now - bytes_of(after, length) > 0.02 * now
        assert f"instead of {now / 1e9:.1f} GB" in suggested.effect
        for change in suggested.changes:
            group, _, field = change.field.rpartition(".")
            assert change.from_ == getattr(getattr(before, group) if group else before, field)


def test_the_ladder_of_training_keeps_the_rows_of_a_step():
    found = analyse(facts(reported("gpu_memory_training")))
    batch, accumulation = found.suggestions[0].changes
    assert (batch.field, accumulation.field) == (
        "training.per_device_train_batch_size",
        "training.gradient_accumulation_steps",
    )
    assert batch.to * accumulation.to == batch.from_ * accumulation.from_ == 16
    assert {"gradient_checkpointing", "max_length"} <= {field for names in fields(found) for field in names}
    cut = next(each for each in found.suggestions if each.changes[0].field == "method.max_length")
    kept = cut.changes[0].to // 16 * 20
    assert f"Cuts {2560 - kept:,} of 2,560 rows" in cut.reason


def test_weights_that_do_not_fit_are_not_helped_by_smaller_passes():
    found = analyse(facts(R.DEVICE_OOM, phase=Phase.LOADING, step=0))
    assert fields(found) == [["load_in_4bit"]]
    assert found.sentence == "The GPU's memory was used up while the model and the rows were loaded."


def test_an_evaluation_gets_smaller_passes_first_and_never_recomputation():
    found = analyse(facts(reported("gpu_memory_evaluation")))
    assert (found.suggestions[0].changes[0].field, found.suggestions[0].changes[0].to) == (
        "training.per_device_eval_batch_size",
        8,
    )
    assert "gradient_checkpointing" not in str(fields(found))
    assert "16 rows at once" in found.sentence


def test_a_config_that_cannot_shrink_further_gets_what_is_left():
    small = config({"per_device_train_batch_size": 1, "gradient_checkpointing": True, "optim": "adamw_8bit"})
    found = analyse(facts(reported("gpu_memory_training"), config=small))
    assert ["per_device_train_batch_size", "gradient_accumulation_steps"] not in fields(found)
    assert fields(found)
    assert "with 1 row at once" in found.sentence


def test_a_model_without_an_estimate_gets_the_ladder_without_numbers():
    found = analyse(facts(reported("gpu_memory_training"), memory=None))
    assert fields(found)[0] == ["per_device_train_batch_size", "gradient_accumulation_steps"]
    assert all(each.bytes_saved is None and "is not computed" in each.effect for each in found.suggestions)


def test_main_memory_of_a_run_on_a_gpu_is_not_that_of_the_estimate():
    failure = reported("host_memory_training")
    assert analyse(facts(failure)).suggestions == []
    assert not any("Computed peak" in line for line in analyse(facts(failure)).evidence)
    loaders = analyse(facts(failure, config=config({"dataloader_num_workers": 4, "dataloader_prefetch_factor": 8})))
    assert fields(loaders) == [["dataloader_num_workers", "dataloader_prefetch_factor"]]
    on_cpu = analyse(facts(failure, memory=CPU))
    assert fields(on_cpu)[0] == ["per_device_train_batch_size", "gradient_accumulation_steps"]


def test_a_divergence_gets_a_lower_rate_clipping_and_a_warm_up():
    wild = config({"learning_rate": 0.01, "max_grad_norm": 0.0, "fp16": True})
    found = analyse(facts(reported("diverged"), config=wild))
    assert fields(found) == [["learning_rate"], ["max_grad_norm"], ["warmup_steps"], ["fp16", "bf16"]]
    rate, clipping, warmup, _ = [each.changes[0] for each in found.suggestions]
    assert (rate.from_, rate.to) == (0.01, 0.0002)
    assert (clipping.from_, clipping.to) == (0.0, 1.0)
    assert (warmup.from_, warmup.to) == (0, 20)
    usual = analyse(facts(reported("diverged")))
    assert usual.suggestions[0].changes[0].to == pytest.approx(1e-4)


def test_a_loss_that_was_never_finite_is_not_cured_by_a_rate():
    found = analyse(facts(reported("poisoned_row"), metrics={}, checkpoints=()))
    assert (found.suggestions, found.resume_from) == ([], None)
    assert "the base model or the rows are at fault" in found.sentence


def test_a_stall_gets_the_limit_that_ended_it():
    stuck = analyse(facts(Failure(R.WORKER_HUNG, "No progress at step 9 for 600 s. Its stacks are in the file x.")))
    assert stuck.sentence == "No progress at step 9 for 600 s."
    assert (stuck.suggestions[0].changes[0].field, stuck.suggestions[0].changes[0].to) == ("stuck_timeout_s", 1200)
    before = analyse(facts(R.WORKER_HUNG, has_stepped=False))
    assert before.suggestions[0].changes[0].field == "first_step_timeout_s"


def test_a_full_disk_keeps_fewer_checkpoints():
    [found] = analyse(facts(reported("disk_full"))).suggestions
    assert (found.changes[0].field, found.changes[0].from_, found.changes[0].to) == ("training.save_total_limit", 3, 1)
    assert "At most 300 MB for its checkpoints, with the one that is being saved, instead of 500 MB." in found.effect
    [found] = analyse(facts(reported("disk_full"), config=config(eval_dataset=None))).suggestions
    assert "At most 200 MB for its checkpoints, with the one that is being saved, instead of 400 MB." in found.effect
    assert analyse(facts(reported("disk_full"), config=config({"save_total_limit": 1}))).suggestions == []


def test_where_to_continue():
    assert (newest := analyse(facts(reported("disk_full"))).resume_from)
    assert (newest.step, newest.eval_loss) == (200, 1.4)
    assert (best := analyse(facts(reported("diverged"))).resume_from)
    assert (best.step, "lowest eval loss (1.3)" in best.reason) == (150, True)


def test_an_eval_loss_that_cannot_be_compared_does_not_decide_where_to_continue():
    other = (SavedCheckpoint("step-00000050", 50, 10**8, 0.2),)  # by shorter rows
    found = analyse(facts(reported("diverged"), checkpoints=SAVED + other)).resume_from
    assert found is not None
    assert (found.step, found.eval_loss) == (150, 1.3)


@pytest.mark.parametrize(
    ("losses", "step", "reason"),
    [
        ({100: 3.0, 150: 2.0, 200: 2.1, 201: 2.0}, 200, "the newest from before the training loss rose"),
        ({100: 3.0, 101: 2.0, 151: 2.1, 201: 9.0}, 150, "the newest from before the training loss rose"),
        ({100: 3.0, 101: 2.0, 150: 2.0, 200: 2.2}, 200, "the newest from before the training loss rose"),  # by a row
        ({100: 3.0, 101: 2.0, 150: 2.0, 200: 9.0}, 100, "the newest from before the training loss rose"),
        ({1: 2.0, 101: 5.0, 151: 40.0, 201: 9e9}, 100, "had risen at every checkpoint, and the least at this one"),
        ({}, 100, "had risen at every checkpoint"),
        ({100: -3.0, 150: 2.0, 201: 9.0}, 200, "the newest from before the training loss rose"),
    ],
)
def test_a_divergence_without_evaluations_continues_from_before_the_rise(
    losses: dict[int, float], step: int, reason: str
):
    saved = tuple(replace(each, eval_loss=None) for each in SAVED)
    found = analyse(facts(reported("diverged"), checkpoints=saved, metrics={"loss": [*losses.items()]})).resume_from
    assert found is not None
    assert (found.step, reason in found.reason) == (step, True), found.reason


def test_rows_that_make_the_loss_nan_at_once_are_blamed_and_no_setting_is():
    calm = {"loss": [(5, 2.2), (6, 2.1), (7, 2.3)], "grad_norm": [(5, 1.1), (6, 1.0), (7, 1.2)]}
    known = {"metrics": calm, "config": config({"learning_rate": 0.01}), "checkpoints": ()}
    found = analyse(facts(reported("poisoned_row"), **known))
    assert found.suggestions == []
    assert found.sentence == (
        "The loss became nan at step 8, and the steps before it were as usual: most likely, rows of this step are at "
        "fault."
    )
    assert any(str(POISONED_LINE) in line for line in found.evidence if line.startswith("Rows of step 8"))


@pytest.mark.parametrize(
    "values",
    [
        {"metrics": {"loss": [(6, 2.1), (7, 5.0)], "grad_norm": [(6, 1.0), (7, 1.2)]}},
        {"metrics": {"loss": [(5, 2.0), (6, 2.1), (7, 2.0)], "grad_norm": [(5, 1.1), (6, 1.0), (7, 90.0)]}},
        {"metrics": {"loss": [(7, 2.0)]}, "config": config({"logging_steps": 7})},
        {"metrics": {"loss": [(7, 2.0)]}, "config": config({"fp16": True})},
        {"metrics": {"loss": [(6, 0.1), (7, -0.1)]}},
    ],
    ids=["loss rose", "large gradient", "steps not logged", "float16", "loss below zero"],
)
def test_what_else_can_explain_a_divergence_keeps_its_suggestions(values: dict[str, Any]):
    assert fields(analyse(facts(reported("poisoned_row"), **values)))[0] == ["learning_rate"]


# Texts


def test_the_memory_of_a_job_survives_its_file(tmp_path: Path):
    assert JobMemory.read(tmp_path) is None
    GPU.write(tmp_path)
    assert JobMemory.read(tmp_path) == GPU
    (tmp_path / "memory.json").write_text("{}", "utf-8")
    assert JobMemory.read(tmp_path) is None


def test_the_telling_frame_of_a_stack_dump():
    dump = (FIXTURES / "stacks.txt").read_text("utf-8")
    assert training_frames(dump) == ["Worker 0 is in stuck (<string>:12)."]
    waiting = dump.replace("stuck (<string>:12)", "wait (torch/x.py:3)\n    all_reduce (torch/distributed/d.py:5)")
    [sentence] = training_frames(waiting)
    assert sentence == "Worker 0 is in all_reduce (torch/distributed/d.py:5). It waits for the other workers."
    assert training_frames("The program py-spy, which shows the stacks, is not installed.") == []


def test_a_traceback_without_frames():
    assert (phase_of(""), error_line(""), innermost_frame("")) == (None, None, None)
    assert error_line("ValueError: x\n") == "ValueError: x"


def test_the_text_fits_a_terminal():
    found = analyse(facts(reported("gpu_memory_evaluation")))
    lines = failure_lines(found, 80)
    assert max(map(len, lines)) <= 80
    assert "  1. training.per_device_eval_batch_size 16 -> 8" in lines
    page = failure_markdown(found)
    assert page.startswith("# Why attempt 2 failed\n\nThe GPU's memory was used up in the evaluation at step 200")
    assert "1. `training.per_device_eval_batch_size 16 -> 8`" in page
