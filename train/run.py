"""One attempt of a job on one set of devices, from the plan to the tuned model."""

import gc
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import psutil
import torch
from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedTokenizerBase

from ftlab.errors import FineTuneLabError
from ftlab.schemas import NoticePayload
from ftlab.schemas.events import DATASETS_MIXED
from ftlab.schemas.methods import TrainingMethod
from train.all_ranks import is_main_rank, num_ranks
from train.checkpoints import checkpoint_files
from train.checkpoints.resume import find_checkpoint, is_evaluation_overdue
from train.checkpoints.resume_report import RunConditions, evaluation_identity
from train.data.tokens.row_lengths import lengths_of
from train.dataset_mix import Mix, mix_of
from train.delivery import TrainedRun, deliver
from train.device_defaults import DeviceTraits, with_device_defaults
from train.devices import load_on_devices, traits_of, with_sharding_in_force
from train.estimate.job_memory import JobMemory
from train.estimate.tokens import tokens_of
from train.failures.classify import raise_if_disk_full
from train.loop.callback import RunCallback
from train.loop.load_rows import load_datasets
from train.loop.prompt_samples import PromptSampler
from train.loop.run_context import EarlyStop, RunContext
from train.methods import make_trainer
from train.methods.trainer_inputs import TrainerInputs
from train.model.base_model import BaseModel, check_revision, find_model
from train.model.folder import facts_of
from train.model.generation import name_ends
from train.model.preflight import check_devices
from train.model.tokenizer import load_tokenizer
from train.plan import Ending, ModelLoaded, Outcome, Phase, RunLink, TrainingPlan
from train.process import prepare_process
from train.reporting.run_metrics import eval_losses
from train.row_schedule import RowSchedule


def run(plan: TrainingPlan, link: RunLink) -> Outcome:
    """Train as `plan` says. Every rank of the run calls it; rank 0 commits and delivers.

    Raises any error; `train.failures.classify.classify` derives the reason from it.
    """
    # Set up the process.
    prepare_process(plan, plan.config.training.seed)
    traits = traits_of(plan)
    plan = replace(plan, config=with_device_defaults(plan.config, traits))
    context = RunContext.of(plan, link)
    try:
        trained = _train(context, traits)
        _free_memory()
        delivers = trained.outcome.ending is Ending.FINISHED and is_main_rank()
        return deliver(context, trained) if delivers else trained.outcome
    except EarlyStop as stop:
        saved = checkpoint_files.committed(plan.checkpoints_folder)
        step = saved[-1][0] if saved else 0
        return Outcome(Ending.STOPPED, step, stop.kind, saved_step=step or None)
    except Exception as error:
        raise_if_disk_full(error, plan.job_folder)
        raise
    finally:
        if is_main_rank():
            shutil.rmtree(plan.writing_folder, ignore_errors=True)
        _free_memory()


def _train(run: RunContext, traits: DeviceTraits) -> TrainedRun:
    plan, link, stop_poll = run.plan, run.link, run.stop_poll
    run.heartbeat.enter(Phase.LOADING)
    stop_poll.raise_if_requested()

    # Find the base model, and load the rows with its tokenizer.
    check_devices(plan.config, use_cuda=plan.use_cuda)
    base = find_model(plan.model, plan.models_folder, pinned=plan.pinned_revision, local=plan.local_base)
    check_revision(base, plan.pinned_revision)
    tokenizer = load_tokenizer(base)
    train_sets, eval_set = load_datasets(run, base, tokenizer)
    run = with_sharding_in_force(run, traits, base, train_sets)
    plan = run.plan

    lengths = [lengths_of(rows.data) for rows in train_sets] if is_main_rank() else []
    if is_main_rank():
        _write_memory(plan, traits, base, lengths, eval_set)

    # Find the checkpoint to resume from, if any. A damaged one is set aside.
    found = find_checkpoint(plan, link if is_main_rank() else None)
    resume_from, resumed = found or (None, None)
    stop_poll.raise_if_requested()

    # Schedule the rows: as planned, or continuing from the checkpoint.
    sizes = [len(rows) for rows in train_sets]
    mix = mix_of(plan.config, sizes)
    schedule = RowSchedule.planned(plan.config.training, sizes, num_ranks(), plan.config.method, mix)
    if resumed is not None:
        before = RunConditions.from_document(resumed.conditions).schedule
        schedule = before.continued(resumed.step, schedule, plan.config.training)
    elif is_main_rank():
        _report_long_warmup(run, schedule)
        _report_unreached_steps(run, schedule)
        _report_mix(run, mix)
    sampler = _prompt_sampler(run, base, tokenizer, schedule)

    # Load the weights.
    model = load_on_devices(run, traits, base)
    if not plan.config.method.scores_texts:
        name_ends(model, tokenizer)
    stop_poll.raise_if_requested()

    # Make the trainer of the method.
    evaluation = evaluation_identity(plan.config, lengths_of(eval_set.data)) if eval_set is not None else None
    callback = RunCallback(run, base, schedule, evaluation=evaluation, resumed=resumed)
    is_overdue = resume_from is None or is_evaluation_overdue(plan, resume_from, schedule.last_step)
    trainer = make_trainer(
        TrainerInputs(
            plan,
            model,
            tokenizer,
            concatenate_datasets(train_sets),
            eval_set,
            schedule,
            callback,
            resume_from,
            evaluates_first=eval_set is not None and (is_overdue or bool(callback.evaluation_changes)),
            sampler=sampler,
        )
    )
    stop_poll.raise_if_requested()

    # Train. The callback emits metrics, commits checkpoints and polls for stop requests.
    link.emit(ModelLoaded(base.revision, _num_tokens(schedule, lengths, plan.config.method)))
    with callback.watching():
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)

    # Report how it ended.
    step = trainer.state.global_step
    outcome = Outcome(
        Ending.FINISHED if callback.stopped_by is None else Ending.STOPPED,
        step,
        callback.stopped_by,
        has_saved=callback.stopped_by is not None and callback.saved_step == step,
        saved_step=callback.saved_step or (resumed.step if resumed else None),
        ended_early=callback.early_end(trainer.state),
        base_model=base.name,
        base_revision=base.revision,
    )
    return TrainedRun(
        outcome,
        base,
        tokenizer.pad_token_id,
        trainer.eval_dataset,  # with what the trainer added to its rows
        eval_losses(trainer.state.log_history),
        callback.progress(trainer.state),
    )


def _num_tokens(schedule: RowSchedule, lengths: Sequence[Mapping[int, int]], method: TrainingMethod) -> int | None:
    """Tokens of all steps; `None` where the rows have none before training, and on other ranks than the main one."""
    if not lengths or not all(lengths):
        return None
    means = [sum(length * rows for length, rows in file.items()) / sum(file.values()) for file in lengths]
    return tokens_of(schedule, means, method)


def _write_memory(
    plan: TrainingPlan,
    traits: DeviceTraits,
    base: BaseModel,
    file_lengths: Sequence[Mapping[int, int]],
    eval_set: Dataset | None,
) -> None:
    """Write down what the job's memory is computed from: should the run be killed, nothing else knows it."""
    lengths = Counter[int]()
    for file in file_lengths:
        lengths.update(file)
    eval_longest = max(lengths_of(eval_set.data), default=0) if eval_set is not None else 0
    if plan.use_cuda:
        memory = int(torch.cuda.get_device_properties(0).total_memory * (plan.gpu_fraction or 1))
    else:
        memory = psutil.virtual_memory().total
    processes = 1 if plan.use_cuda else num_ranks()
    with suppress(OSError, FineTuneLabError):  # only the analysis of a failure reads it: nothing here may fail the run
        if (shape := facts_of(base.folder).shape) is not None:
            plan.job_folder.mkdir(parents=True, exist_ok=True)
            JobMemory(shape, traits, memory, dict(lengths), eval_longest, processes).write(plan.job_folder)


def _prompt_sampler(
    run: RunContext, base: BaseModel, tokenizer: PreTrainedTokenizerBase, schedule: RowSchedule
) -> PromptSampler | None:
    if run.plan.config.training.sample_prompts is None:
        return None
    layers = facts_of(base.folder).layers
    return PromptSampler(run, tokenizer, layers.max_positions if layers else None, schedule.last_step)


def _report_long_warmup(run: RunContext, schedule: RowSchedule) -> None:
    training = run.plan.config.training
    if training.lr_scheduler_type == "constant" or training.warmup_steps <= schedule.last_step:
        return
    message = (
        f"The warm-up takes {training.warmup_steps} steps (training.warmup_steps), and the run has "
        f"{schedule.last_step}: the learning rate never reaches {run.plan.config.learning_rate:g}. It ends at "
        f"{schedule.last_step / training.warmup_steps:.1%} of that."
    )
    run.link.emit(NoticePayload(code="warmup_too_long", message=message))


def _report_unreached_steps(run: RunContext, schedule: RowSchedule) -> None:
    training = run.plan.config.training
    if training.max_steps is None or training.max_steps <= schedule.last_step:
        return
    message = (
        f"The run has {schedule.last_step} steps, and not {training.max_steps} (training.max_steps): several files are "
        f"trained one after another, each for {training.num_train_epochs:g} epochs (training.num_train_epochs), and "
        "max_steps only limits the run."
    )
    run.link.emit(NoticePayload(code="max_steps_unreached", message=message))


def _report_mix(run: RunContext, mix: Mix | None) -> None:
    if mix is not None:
        message = mix.describe([file.dataset_id for file in run.plan.train_files])
        run.link.emit(NoticePayload(code=DATASETS_MIXED, message=message))


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
