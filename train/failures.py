"""From an exception to a reason code and a sentence that a user can act on."""

import os
import traceback
from dataclasses import dataclass
from pathlib import Path

from ftlab.errors import FineTuneLabError
from ftlab.files import free_bytes, is_disk_full
from ftlab.status import ReasonCode
from train.plan import Failure

_DISK_FULL_MARKS = (
    "No space left on device",
    # `torch.save` does not ask why a file is shorter than what it wrote.
    "PytorchStreamWriter failed writing",
    "unexpected pos",
)


@dataclass(frozen=True)
class _Sign:
    """How to recognise a reason in the errors of other libraries: by class name or by words in the message."""

    reason: ReasonCode
    sentence: str
    names: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()

    def fits(self, error: BaseException) -> bool:
        is_named = any(cls.__name__ in self.names for cls in type(error).__mro__)
        return is_named or any(mark in str(error) for mark in self.marks)


_SIGNS = (
    _Sign(
        ReasonCode.HOST_OOM,
        "The machine's memory is used up. Use a smaller batch, a shorter method.max_length or a smaller model.",
        names=("MemoryError",),
        marks=("Cannot allocate memory",),
    ),
    _Sign(
        ReasonCode.DEVICE_OOM,
        "The GPU's memory is used up. Halve training.per_device_train_batch_size and double "
        "training.gradient_accumulation_steps, or set training.gradient_checkpointing or load_in_4bit.",
        names=("OutOfMemoryError",),
        marks=("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED"),
    ),
    _Sign(
        ReasonCode.INTERNAL_ERROR,
        "A computation on the GPU met a value out of its range: {first_line} The job's log has the traceback.",
        marks=("device-side assert",),
    ),
    _Sign(
        ReasonCode.GPU_LOST,
        "The GPU no longer answers this run: {first_line} "
        "If it happens again, look for Xid errors in the machine's log.",
        marks=("CUDA error:", "CUDA driver error", "cuDNN error", "CUBLAS_STATUS_EXECUTION_FAILED", "No CUDA GPUs"),
    ),
    _Sign(
        ReasonCode.MODEL_ACCESS_DENIED,
        "The model is gated: accept its licence on the hub and start the service with the variable HF_TOKEN.",
        names=("GatedRepoError",),
    ),
    _Sign(
        ReasonCode.MODEL_NOT_FOUND,
        "The base model was found neither on this machine nor on the hub. "
        "Check its name, or put it below the models folder.",
        names=("RepositoryNotFoundError", "RevisionNotFoundError", "LocalEntryNotFoundError"),
        marks=(
            "is not a valid model identifier",
            "is not a local folder",
            "Repository Not Found",
            "couldn't connect to",
        ),
    ),
    _Sign(
        ReasonCode.COLLECTIVE_ERROR,
        "The workers lost each other: {first_line}",
        marks=("gloo", "NCCL", "Connection closed by peer", "ProcessGroup", "DistBackendError"),
    ),
)


class LossDivergedError(RuntimeError):
    """The training loss is no longer a finite number."""


class DiskFullError(RuntimeError):
    """A disk is full. The message is made before anything is cleaned up, and gives the free space at that moment."""


def raise_if_disk_full(error: BaseException, folder: Path) -> None:
    """Raise `DiskFullError` when a full disk is behind `error`; `folder` is where the job writes."""
    full = _disk_full(error)
    if full is not None:
        raise DiskFullError(_full_disk_sentence(full, folder)) from error


def classify(error: BaseException, folder: Path) -> Failure:
    """Find the reason for `error`; `folder` is where the job writes, whose free space the message gives."""
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
    if isinstance(error, DiskFullError):
        return ReasonCode.DISK_FULL, str(error)
    if full := _disk_full(error):
        return ReasonCode.DISK_FULL, _full_disk_sentence(full, folder)
    first_line = _first_line(str(error))
    for sign in _SIGNS:
        if sign.fits(error):
            return sign.reason, sign.sentence.format(first_line=first_line)
    return ReasonCode.INTERNAL_ERROR, f"{type(error).__name__}: {first_line} The job's log has the traceback."


def _disk_full(error: BaseException | None) -> BaseException | None:
    """The error in the chain that was caused by a full disk."""
    while error is not None:
        if isinstance(error, OSError) and is_disk_full(error):
            return error
        if any(mark in str(error) for mark in _DISK_FULL_MARKS):
            return error
        error = error.__cause__ or error.__context__
    return None


def _full_disk_sentence(full: BaseException, folder: Path) -> str:
    where = getattr(full, "filename", None) or folder
    return (
        f"The disk of {where} is full ({free_bytes(folder):,} bytes free). Free some space, then submit the job again."
    )


def _of_user_error(error: FineTuneLabError) -> ReasonCode:
    if error.code in ("dataset_invalid", "dataset_content_missing"):
        return ReasonCode.DATASET_INVALID
    if error.code in ("model_not_found", "model_hub_away"):
        return ReasonCode.MODEL_NOT_FOUND
    if error.code == "model_access_denied":
        return ReasonCode.MODEL_ACCESS_DENIED
    if error.code == "checkpoint_corrupt":
        return ReasonCode.CHECKPOINT_CORRUPT
    return ReasonCode.CONFIG_INVALID


def _first_line(text: str) -> str:
    line = text.strip().split(os.linesep)[0][:300] if text.strip() else "no message"
    return line if line.endswith(".") else line + "."
