"""The report of a resume: where the run continues, with what, and whether bit for bit as without the interruption."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cache
from typing import Any

import torch

from ftlab.manifest import Manifest
from ftlab.schemas import JobConfig, LoraConfig, ResumedPayload, TrainingConfig
from ftlab.schemas.common import StrictModel
from ftlab.schemas.events import RESUMED
from ftlab.schemas.methods import METHODS
from train.all_ranks import num_ranks
from train.checkpoints.checkpoint_files import evaluation_of, installed_versions, is_same_evaluation
from train.checkpoints.setting_changes import WITHOUT_EFFECT
from train.data.tokens.prepare import content_of
from train.plan import RunLink, TrainingPlan
from train.row_order import file_order
from train.row_schedule import RowSchedule

MEASURING = ("load_in_4bit", "load_in_8bit", "method.max_completion_length", "method.max_length")
"""Settings that may change at a resume and then change what an evaluation measures."""
HASHED_ROWS = 256
"""Number of next rows of a file whose order is part of a data position's hash."""


@dataclass(frozen=True)
class RunConditions:
    """Everything that decides the next bits of a run, at one of its steps."""

    settings: dict[str, Any]
    """The parts of the job's config that change weights, by their names."""
    environment: dict[str, str]
    schedule: RowSchedule
    data_sha256: str
    """Covers the file's rows, the position in it, and the order of its next rows."""
    rng_sha256: str | None
    """Covers the random states of all ranks; `None` where no step is left to draw from them."""
    evaluation: str | None = None
    """Identity of what an evaluation measures; `None` without evaluation rows."""

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "RunConditions":
        """Undo `to_document`."""
        return cls(**{**document, "schedule": RowSchedule.from_document(document["schedule"])})

    def to_document(self) -> dict[str, Any]:
        """The conditions as a checkpoint's manifest keeps them."""
        return asdict(self)


class ConditionsReader:
    """Reads the conditions of the current run."""

    def __init__(self, plan: TrainingPlan, schedule: RowSchedule, evaluation: str | None = None) -> None:
        """`evaluation` is that of `evaluation_identity`."""
        self._evaluation = evaluation
        self._schedule = schedule
        self._seed = plan.config.training.seed
        self._files = plan.train_files
        self._content = cache(content_of)
        self._settings = _settings(plan.config)
        self._environment = _environment(plan)

    def at(self, step: int, rng_sha256: str | None) -> RunConditions:
        file, place = astuple(self._schedule.next_at(step))
        coming = file_order(self._schedule, self._seed, file, place, place + HASHED_ROWS)
        data = json.dumps([self._content_of(file), self._schedule.rows[file], place, list(coming)])
        return RunConditions(
            settings=self._settings,
            environment=self._environment,
            schedule=self._schedule,
            data_sha256=hashlib.sha256(data.encode()).hexdigest(),
            rng_sha256=rng_sha256,
            evaluation=self._evaluation,
        )

    def evaluation_changes(self, before: Manifest) -> list[str]:
        """The changes since a checkpoint that make eval losses incomparable with its own and with earlier ones."""
        if is_same_evaluation(evaluation_of(before), self._evaluation):
            return []
        then, now = (
            {name: each.get(name) for name in MEASURING} for each in (before.conditions["settings"], self._settings)
        )
        return _changes(then, now) or ["the evaluation rows changed"]

    def _content_of(self, file: int) -> str | list[str]:
        """Identity of the rows of a file; of every dataset of a mix."""
        if self._schedule.mix is None:
            return self._content(self._files[file].rows)
        return [self._content(each.rows) for each in self._files]


def evaluation_identity(config: JobConfig, lengths: Mapping[int, int]) -> str:
    """Identity of what the evaluations of a job measure; `lengths` are its evaluation rows by their number of tokens.

    The rows of a job never change, and how they are cut shows in their lengths.
    """
    settings = {name: value for name, value in _settings(config).items() if name in MEASURING}
    settings.pop("method.max_length")
    return hashlib.sha256(json.dumps([settings, sorted(lengths.items())], sort_keys=True).encode()).hexdigest()


class ResumeReport:
    """Reporter that waits for the first loss after a resume, and reports it next to the last one before."""

    def __init__(self, before: Manifest, log_history: list[dict[str, Any]]) -> None:
        self._before = before
        self._logged: dict[str, Any] = next((entry for entry in reversed(log_history) if "loss" in entry), {})

    def emit(self, link: RunLink, now: RunConditions, logs: dict[str, Any]) -> None:
        """Emit the report; `logs` are those of the first logged step, empty where no step was left."""
        before, versions = self._before, installed_versions()
        why_not = differences(before, now, versions)
        then = RunConditions.from_document(before.conditions)
        exactness = f"not bit for bit: {_in_short(why_not)}" if why_not else "bit for bit as without the interruption"
        losses = {"before": self._logged.get("loss"), "after": logs.get("loss")}
        shown = "".join(f", loss {loss:.4g} {when}" for when, loss in losses.items() if loss is not None)
        at, num_files = now.schedule.next_at(before.step), now.schedule.num_files
        where = f"row {at.place} of file {at.file + 1} of {num_files}, " if num_files > 1 else ""
        link.emit(
            ResumedPayload(
                code=RESUMED,
                message=f"Resumed from step {before.step} ({where}{before.samples} rows{shown}); {exactness}.",
                step=before.step,
                samples=before.samples,
                file=at.file + 1,
                num_files=num_files,
                file_samples=at.place,
                loss_before=losses["before"],
                loss_after=losses["after"],
                learning_rate_before=self._logged.get("learning_rate"),
                learning_rate_after=logs.get("learning_rate"),
                rng_sha256_before=then.rng_sha256,
                rng_sha256_after=now.rng_sha256,
                data_sha256_before=then.data_sha256,
                data_sha256_after=now.data_sha256,
                versions_before=before.versions,
                versions_after=versions,
                bit_exact=not why_not,
                why_not=why_not,
            )
        )


def differences(before: Manifest, now: RunConditions, versions: dict[str, str]) -> list[str]:
    """Reasons why the run does not continue bit for bit, one clause each; none when it does."""
    then = RunConditions.from_document(before.conditions)
    added = now.schedule.num_files - then.schedule.num_files
    reasons = [f"{added} more files are trained" if added > 1 else "one more file is trained"] if added else []
    settings = {name: value for name, value in then.settings.items() if name not in WITHOUT_EFFECT}
    reasons += _changes(_newer_defaults(then, now) | settings, now.settings) + _changes(before.versions, versions)
    if starts_anew(then.settings, now.settings["training.optim"]):
        reasons.append("the new optimizer starts without the state of the other one")
    reasons += _changes(then.environment, now.environment)
    reasons += _other_rows(then.schedule, now.schedule)
    if then.data_sha256 != now.data_sha256:
        reasons.append("the remaining rows are different")
    if now.rng_sha256 not in (None, then.rng_sha256):
        reasons.append("the remaining random numbers are different")
    if now.environment["device"] != "cpu":
        reasons.append("a GPU does not add numbers in a fixed order")
    if now.schedule.step_size.workers > 2 and now.settings["training.gradient_checkpointing"]:
        # DDP rearranges the gradients after its first step, unless it looks for unused parameters in each.
        reasons.append("with gradient checkpointing, more than two workers do not add numbers in a fixed order")
    return reasons


def starts_anew(before: Mapping[str, Any], optim: str) -> bool:
    """Whether the state of the optimizer cannot be used, by the settings in the conditions of the checkpoint: other
    optimizers keep another state.
    """
    return bool(before.get("training.optim", optim) != optim)


def _other_rows(then: RowSchedule, now: RowSchedule) -> list[str]:
    """The reason for files that have other rows than before, for example because rows are cut at another length."""
    common = min(then.num_files, now.num_files)
    before, after = sum(then.rows[:common]), sum(now.rows[:common])
    if then.rows[:common] == now.rows[:common]:
        return []
    order = "in another order, so that this epoch may train a row twice or not at all"
    return [f"{after} rows are trained instead of {before}, {order}"]


def _changes(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [
        f"{name} changed from {then.get(name)} to {now.get(name)}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def _newer_defaults(then: RunConditions, now: RunConditions) -> dict[str, Any]:
    """Defaults of the settings that the release which wrote the checkpoint did not have: the run behaved like them."""
    method = next(each for each in METHODS if each.model_fields["type"].default == now.settings["method.type"])
    groups: dict[str, type[StrictModel]] = {"training": TrainingConfig, "lora": LoraConfig, "method": method}
    fields = {f"{group}.{name}": field for group, model in groups.items() for name, field in model.model_fields.items()}
    defaults = {"resources.sharding": "none"} | {name: field.default for name, field in fields.items()}
    return {name: defaults[name] for name in now.settings.keys() - then.settings.keys() if name in defaults}


def _in_short(why_not: Sequence[str]) -> str:
    """The first reason, and how many there are."""
    more = len(why_not) - 1
    return why_not[0] if not more else f"{why_not[0]}; {more} more {'reason' if more == 1 else 'reasons'}"


def _settings(config: JobConfig) -> dict[str, Any]:
    parts = {"method", "tuning", "load_in_4bit", "load_in_8bit", "lora", "training"}
    document = config.resolved().model_dump(mode="json", include=parts)
    flat = {name: value for name, value in document.items() if not isinstance(value, dict)}
    for group in ("method", "lora", "training"):
        flat |= {f"{group}.{name}": value for name, value in document[group].items()}
    flat = {name: value for name, value in flat.items() if name not in WITHOUT_EFFECT}
    if config.eval_split is not None:
        flat |= {"eval_split": config.eval_split, "eval_split_seed": config.eval_split_seed}
    if config.dataset_weights is not None:
        flat |= {"dataset_weights": config.dataset_weights}
    return flat | {"resources.num_workers": num_ranks(), "resources.sharding": config.resources.sharding}


def _environment(plan: TrainingPlan) -> dict[str, str]:
    device = torch.cuda.get_device_name() if plan.use_cuda else "cpu"
    instructions = torch.backends.cpu.get_cpu_capability()
    return {"device": device, "CPU": f"{platform.machine()} {instructions}", "CPU threads": str(plan.threads)}
