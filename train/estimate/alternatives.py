"""The nearest configs that need less memory: smaller passes, recomputed activations, shorter rows, 4-bit weights."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ftlab.schemas import GrpoMethod, JobConfig
from ftlab.schemas.auto import with_settings
from train.estimate.devices import Fit
from train.estimate.memory import is_8bit

MAX_ALTERNATIVES = 4
LENGTH_STEP = 64


@dataclass(frozen=True)
class Change:
    """A config with other settings."""

    config: JobConfig
    length: int
    """Tokens of its longest row."""
    changes: dict[str, Any]
    message: str


@dataclass(frozen=True)
class Fitting:
    """A change with which the job fits, and the peak that it leads to, in bytes."""

    change: Change
    peak_bytes: int


def fitting(
    config: JobConfig,
    length: int,
    lengths: Mapping[int, int],
    peak_of: Callable[[JobConfig, int], int],
    fit_of: Callable[[int], Fit],
) -> list[Fitting]:
    """The nearest changes that fit, at most `MAX_ALTERNATIVES`.

    `lengths` are numbers of rows by tokens, to count those that a shorter `max_length` cuts; `peak_of` computes the
    peak of a config with a longest row. The first fitting change of each kind is taken.
    """
    found: list[Fitting] = []
    for kind in (smaller_passes, recomputed, recomputed_in_smaller_passes, shorter, quantised):
        if kind is recomputed_in_smaller_passes and found:
            continue  # one of the two is enough
        for change in kind(config, length, lengths):
            peak = peak_of(change.config, change.length)
            if fit_of(peak) is Fit.FITS:
                found.append(Fitting(change, peak))
                break
    return found[:MAX_ALTERNATIVES]


def smaller_passes(config: JobConfig, length: int, _: Mapping[int, int]) -> Iterator[Change]:
    """Fewer rows at once and more passes per step, so that a step takes the same rows."""
    batch = config.training.per_device_train_batch_size
    for smaller in (size for size in range(batch // 2, config.method.min_batch_size - 1, -1) if batch % size == 0):
        accumulation = config.training.gradient_accumulation_steps * batch // smaller
        if accumulation <= 4096:
            changes = {
                "training.per_device_train_batch_size": smaller,
                "training.gradient_accumulation_steps": accumulation,
            }
            yield changed(config, length, changes, f"Same rows per step, in passes of {_rows(smaller)}.")


def recomputed(config: JobConfig, length: int, _: Mapping[int, int]) -> Iterator[Change]:
    if not config.training.gradient_checkpointing:
        message = "Activations are computed twice: a step takes about a third longer."
        yield changed(config, length, {"training.gradient_checkpointing": True}, message)


def recomputed_in_smaller_passes(config: JobConfig, length: int, lengths: Mapping[int, int]) -> Iterator[Change]:
    for first in recomputed(config, length, lengths):
        for change in smaller_passes(first.config, length, lengths):
            message = f"{change.message} {first.message}"
            yield Change(change.config, length, first.changes | change.changes, message)


def shorter(config: JobConfig, length: int, lengths: Mapping[int, int]) -> Iterator[Change]:
    """Shorter rows, by halves, down to one step of lengths."""
    if isinstance(config.method, GrpoMethod):
        return  # its prompts are skipped, not cut
    shorter = length // 2 // LENGTH_STEP * LENGTH_STEP
    while shorter >= LENGTH_STEP:
        total = sum(lengths.values())
        cut = sum(number for tokens, number in lengths.items() if tokens > shorter)
        loss = f"Cuts {cut / total:.0%} of the rows." if total else "How many rows it cuts is not known."
        if config.method.packing:
            loss = "Rows of the dataset that are longer continue in the next packed row."
        yield changed(config, shorter, {"method.max_length": shorter}, loss)
        shorter = shorter // 2 // LENGTH_STEP * LENGTH_STEP


def smaller_optimizer(config: JobConfig, length: int, _: Mapping[int, int]) -> Iterator[Change]:
    """AdamW with its averages in 8 bits."""
    if config.training.uses_adam and not is_8bit(config.training.optim or ""):
        message = "AdamW of bitsandbytes, which keeps its averages in 8 bits instead of 32."
        yield changed(config, length, {"training.optim": "adamw_8bit"}, message)


def smaller_evaluations(config: JobConfig, length: int, _: Mapping[int, int]) -> Iterator[Change]:
    """Fewer rows at once in an evaluation, whose result stays the same."""
    batch = config.training.per_device_eval_batch_size
    while batch > 1:
        batch //= 2
        message = f"Same rows in passes of {_rows(batch)}: the eval loss stays the same, an evaluation takes longer."
        yield changed(config, length, {"training.per_device_eval_batch_size": batch}, message)


def quantised(config: JobConfig, length: int, _: Mapping[int, int]) -> Iterator[Change]:
    if config.quantised_by:
        return
    is_divided = config.resources.sharding == "fsdp" and config.resources.num_workers > 1
    changes: dict[str, Any] = {"load_in_4bit": True}
    message = "QLoRA: frozen weights in 4 bits, which costs a little quality and speed."
    if config.tuning == "full":
        changes, message = {"tuning": "lora"}, "LoRA: trains adapters instead of all weights."
        yield changed(config, length, changes, message)
        changes = {"tuning": "lora", "load_in_4bit": True}
        message = "QLoRA: trains adapters on frozen weights in 4 bits."
    if not is_divided:
        yield changed(config, length, changes, message)


def changed(config: JobConfig, length: int, changes: dict[str, Any], message: str) -> Change:
    """The config with other values of some settings. Raises `InvalidRequestError` when they do not fit together."""
    document = with_settings(config.model_dump(mode="json", exclude_unset=True), changes)
    return Change(JobConfig.model_validate(document), length, changes, message)


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"
