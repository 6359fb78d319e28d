"""What a resume tells of itself: where it went on, with what, and whether every bit is as without the interruption."""

import hashlib
import json
import os
import platform
from dataclasses import asdict, astuple, dataclass
from functools import cache
from typing import Any

import torch

from ftlab.schemas import EventKind, JobConfig
from train.checkpoints.checkpoint_files import Manifest, installed_versions
from train.data.tokens.prepare import content_of
from train.plan import RunLink, RunPlan
from train.row_schedule import Course, file_order

HASHED_ROWS = 256
"""Rows to come of a file whose order is part of a data position's hash."""

# They decide what is told and kept, and change no weight.
_WITHOUT_EFFECT = frozenset(
    {
        "logging_steps",
        "eval_steps",
        "eval_accumulation_steps",
        "per_device_eval_batch_size",
        "save_steps",
        "save_total_limit",
        "load_best_model_at_end",
    }
)


@dataclass(frozen=True)
class Traits:
    """What decides the next bits of a run, at one of its steps."""

    settings: dict[str, Any]
    """The parts of the job's config that change weights, by their names."""
    environment: dict[str, str]
    course: dict[str, Any]
    data_sha256: str
    """Of the file's rows, the position in it, and the order in which its next rows come."""
    rng_sha256: str | None
    """Of the random states of all ranks; `None` where none is left to draw from them."""

    def to_document(self) -> dict[str, Any]:
        return asdict(self)


class TraitReader:
    """Reads the traits of the run that is going on."""

    def __init__(self, plan: RunPlan, course: Course) -> None:
        self._course = course
        self._seed = plan.config.training.seed
        self._files = plan.train_files
        self._content = cache(content_of)
        self._settings = _settings(plan.config)
        self._environment = _environment(plan)

    def at(self, step: int, rng_sha256: str | None) -> Traits:
        file, place = astuple(self._course.next_at(step))
        coming = file_order(self._course, self._seed, file, place, place + HASHED_ROWS)
        data = json.dumps([self._content(self._files[file].rows), self._course.rows[file], place, list(coming)])
        return Traits(
            settings=self._settings,
            environment=self._environment,
            course=self._course.to_document(),
            data_sha256=hashlib.sha256(data.encode()).hexdigest(),
            rng_sha256=rng_sha256,
        )


class Receipt:
    """Waits for the first loss after a resume, to tell it with the last one before."""

    def __init__(self, before: Manifest, log_history: list[dict[str, Any]]) -> None:
        self._before = before
        self._logged: dict[str, Any] = next((entry for entry in reversed(log_history) if "loss" in entry), {})

    def tell(self, link: RunLink, now: Traits, logs: dict[str, Any]) -> None:
        """Emit the receipt; `logs` are those of the first logged step, empty where there was no step left."""
        before, versions = self._before, installed_versions()
        why_not = differences(before, now, versions)
        then = Traits(**before.traits)
        exactness = "every bit is as without the interruption" if not why_not else f"not bit for bit: {why_not[0]}"
        losses = {"before": self._logged.get("loss"), "after": logs.get("loss")}
        shown = "".join(f", loss {loss:.4g} {when}" for when, loss in losses.items() if loss is not None)
        course = Course.from_document(now.course)
        at = course.next_at(before.step)
        where = f"row {at.place} of file {at.file + 1} of {course.num_files}, " if course.num_files > 1 else ""
        link.emit(
            EventKind.NOTICE,
            {
                "code": "resumed",
                "message": f"Resumed from step {before.step} ({where}{before.samples} rows{shown}); {exactness}.",
                "step": before.step,
                "samples": before.samples,
                "file": at.file + 1,
                "num_files": course.num_files,
                "file_samples": at.place,
                "loss_before": losses["before"],
                "loss_after": losses["after"],
                "learning_rate_before": self._logged.get("learning_rate"),
                "learning_rate_after": logs.get("learning_rate"),
                "rng_sha256_before": then.rng_sha256,
                "rng_sha256_after": now.rng_sha256,
                "data_sha256_before": then.data_sha256,
                "data_sha256_after": now.data_sha256,
                "versions_before": before.versions,
                "versions_after": versions,
                "bit_exact": not why_not,
                "why_not": why_not,
            },
        )


def differences(before: Manifest, now: Traits, versions: dict[str, str]) -> list[str]:
    """Why the run does not go on bit for bit: one clause for each reason, none when it does."""
    then = Traits(**before.traits)
    added = Course.from_document(now.course).num_files - Course.from_document(then.course).num_files
    reasons = [f"{added} more files are trained" if added > 1 else "one more file is trained"] if added else []
    reasons += _changes(then.settings, now.settings) + _changes(before.versions, versions)
    reasons += _changes(then.environment, now.environment)
    pace = now.course["pace"]
    if then.data_sha256 != now.data_sha256:
        reasons.append("the rows to come are others")
    if now.rng_sha256 not in (None, then.rng_sha256):
        reasons.append("the random numbers to come are others")
    if now.environment["device"] != "cpu":
        reasons.append("a GPU does not add in a fixed order")
    if pace["workers"] > 2 and now.settings["training.gradient_checkpointing"]:
        # DDP arranges the gradients anew after its first step, unless it looks for unused parameters in each.
        reasons.append("with gradient checkpointing, more than two workers do not add in a fixed order")
    return reasons


def _changes(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [
        f"{name} changed from {then.get(name)} to {now.get(name)}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def _settings(config: JobConfig) -> dict[str, Any]:
    document = config.model_dump(mode="json", include={"method", "tuning", "load_in_4bit", "lora", "training"})
    document["training"] = {
        name: value for name, value in document["training"].items() if name not in _WITHOUT_EFFECT
    } | {"learning_rate": config.learning_rate}
    flat = {name: value for name, value in document.items() if not isinstance(value, dict)}
    for group in ("method", "lora", "training"):
        flat |= {f"{group}.{name}": value for name, value in document[group].items()}
    return flat | {"resources.num_workers": int(os.environ.get("WORLD_SIZE", "1"))}


def _environment(plan: RunPlan) -> dict[str, str]:
    device = torch.cuda.get_device_name() if plan.use_cuda else "cpu"
    instructions = torch.backends.cpu.get_cpu_capability()
    return {"device": device, "CPU": f"{platform.machine()} {instructions}", "CPU threads": str(plan.threads)}
