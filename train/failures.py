"""From an exception to a reason code and a sentence that a user can act on."""

import errno
import os
import shutil
import traceback
from pathlib import Path

from ftlab.errors import FineTuneLabError
from ftlab.life import ReasonCode
from train.plan import Failure

_COLLECTIVE_MARKS = ("gloo", "NCCL", "Connection closed by peer", "ProcessGroup", "DistBackendError")
_MISSING_MODEL_MARKS = (
    "is not a valid model identifier",
    "is not a local folder",
    "Repository Not Found",
    "couldn't connect to",
)


class LossDivergedError(RuntimeError):
    """The training loss is no longer a finite number."""


def classify(error: BaseException, folder: Path) -> Failure:
    """Find the reason for `error`; `folder` is where the job writes, to tell the free space of its disk."""
    reason, message = _diagnose(error, folder)
    return Failure(reason, message, "".join(traceback.format_exception(error))[-20_000:])


def _diagnose(error: BaseException, folder: Path) -> tuple[ReasonCode, str]:
    if isinstance(error, FineTuneLabError):
        return _of_user_error(error), error.message
    if isinstance(error, LossDivergedError):
        return (
            ReasonCode.LOSS_DIVERGED,
            f"{error} Lower training.learning_rate, or keep training.max_grad_norm at 1.0 or below.",
        )
    if isinstance(error, MemoryError):
        return (
            ReasonCode.HOST_OOM,
            "The machine's memory is used up. Use a smaller batch, a shorter method.max_length or a smaller model.",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        free = shutil.disk_usage(folder).free
        return (
            ReasonCode.DISK_FULL,
            f"The disk of {error.filename or folder} is full ({free:,} bytes free). "
            "Free some space, then submit the job again.",
        )
    text = str(error)
    name = type(error).__name__
    if name == "OutOfMemoryError" or "CUDA out of memory" in text:
        return (
            ReasonCode.DEVICE_OOM,
            "The GPU's memory is used up. Halve training.per_device_train_batch_size and double "
            "training.gradient_accumulation_steps, or set training.gradient_checkpointing or load_in_4bit.",
        )
    if name == "GatedRepoError":
        return (
            ReasonCode.MODEL_ACCESS_DENIED,
            "The model is gated: accept its licence on the hub and give the service a token.",
        )
    if name in {"RepositoryNotFoundError", "RevisionNotFoundError", "LocalEntryNotFoundError"} or any(
        mark in text for mark in _MISSING_MODEL_MARKS
    ):
        return (
            ReasonCode.MODEL_NOT_FOUND,
            "The base model was found neither on this machine nor on the hub. "
            "Check its name, or put it below the models folder.",
        )
    if any(mark in text for mark in _COLLECTIVE_MARKS):
        return ReasonCode.COLLECTIVE_ERROR, f"The workers lost each other: {_first_line(text)}"
    return ReasonCode.INTERNAL_ERROR, f"{name}: {_first_line(text)} The job's log has the traceback."


def _of_user_error(error: FineTuneLabError) -> ReasonCode:
    if error.code == "dataset_invalid":
        return ReasonCode.DATASET_INVALID
    if error.code == "model_not_found":
        return ReasonCode.MODEL_NOT_FOUND
    return ReasonCode.CONFIG_INVALID


def _first_line(text: str) -> str:
    line = text.strip().split(os.linesep)[0][:300] if text.strip() else "no message"
    return line if line.endswith(".") else line + "."
