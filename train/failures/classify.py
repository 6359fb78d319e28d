"""Classification of exceptions: a reason code, and a sentence that a user can act on."""

import os
import re
import traceback
from dataclasses import replace
from pathlib import Path

from ftlab.errors import FineTuneLabError
from ftlab.files import free_bytes, is_disk_full
from ftlab.status import FailureCause, ReasonCode
from train.failures.errors import DeviceTooSmallError, DiskFullError, EngineCrashedError, LossDivergedError
from train.failures.signs import SIGNS, is_native, storage_sentence
from train.plan import Failure

_DISK_FULL = re.compile(
    r"No space left on device|Disk quota exceeded"
    # `torch.save` does not ask why a file is shorter than what it wrote.
    r"|PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+"
)
_REASONS_OF_CODES = {
    "dataset_invalid": ReasonCode.DATASET_INVALID,
    "dataset_content_missing": ReasonCode.DATASET_INVALID,
    "model_not_found": ReasonCode.MODEL_NOT_FOUND,
    "model_hub_away": ReasonCode.MODEL_NOT_FOUND,
    "model_access_denied": ReasonCode.MODEL_ACCESS_DENIED,
    "checkpoint_corrupt": ReasonCode.CHECKPOINT_CORRUPT,
    "export_differs": ReasonCode.EXPORT_DIFFERS,
    "quantizer_failed": ReasonCode.CONFIG_INVALID,
    "judge_unavailable": ReasonCode.JUDGE_UNAVAILABLE,
}
"""Reason by the code of one of our own errors. Any other code is `config_invalid` if the error blames the request (HTTP
4xx).
"""
_CAUSES_OF_CODES = {
    "chat_template_unsupported": FailureCause.TOKENIZER,
    "tokenizer_unsupported": FailureCause.TOKENIZER,
    "model_invalid": FailureCause.MODEL_DAMAGED,
}
"""Cause by the code of one of our own errors, where it is finer than the reason."""
_OF_TOKENIZER = re.compile(r"tokenizer|chat.template", re.IGNORECASE)
MAX_TRACEBACK_CHARS = 20_000
_LESS_MEMORY = (
    "Halve training.per_device_train_batch_size and double training.gradient_accumulation_steps, lower "
    "method.max_length, or set training.gradient_checkpointing; 'ftlab submit --dry-run' computes what fits."
)


def raise_if_disk_full(error: BaseException, folder: Path) -> None:
    """Raise `DiskFullError` when a full disk is behind `error`; `folder` is where the job writes."""
    full = _disk_full(error)
    if full is not None:
        raise DiskFullError(_full_disk_sentence(full, folder)) from error


def classify(error: BaseException, folder: Path) -> Failure:
    """Find the reason for `error`; `folder` is where the job writes, whose free space the message gives."""
    failure = find_failure(error, folder) or Failure(
        ReasonCode.INTERNAL_ERROR,
        f"{type(error).__name__}: {_first_line(str(error))} The job's log has the traceback.",
    )
    text = "".join(traceback.format_exception(error))[-MAX_TRACEBACK_CHARS:]
    return replace(failure, traceback=text, notes=(*failure.notes, *getattr(error, "__notes__", ())))


def find_failure(error: BaseException, folder: Path) -> Failure | None:
    """The reason, the sentence and the cause of an error whose cause is known; `None` for any other.

    `folder` is where the job writes.
    """
    if isinstance(error, FineTuneLabError):
        return Failure(_of_own_error(error), error.message, cause=_cause_of_own_error(error), field=error.param)
    if isinstance(error, LossDivergedError):
        message = f"{error} Lower training.learning_rate, or keep training.max_grad_norm at 1.0 or below."
        return Failure(ReasonCode.LOSS_DIVERGED, message)
    if isinstance(error, DeviceTooSmallError):
        message = f"A step on the longest rows does not fit the GPU: {error}. {_LESS_MEMORY}"
        measured = (f"The memory probe with the longest rows measured: {error}.",)
        return Failure(ReasonCode.DEVICE_OOM, message, cause=FailureCause.GPU_MEMORY_TRAINING, notes=measured)
    if isinstance(error, EngineCrashedError):
        return Failure(ReasonCode.WORKER_CRASHED, str(error))
    if isinstance(error, DiskFullError):
        return Failure(ReasonCode.DISK_FULL, str(error))
    if full := _disk_full(error):
        return Failure(ReasonCode.DISK_FULL, _full_disk_sentence(full, folder))
    cause: BaseException | None = error
    while cause is not None:
        for sign in SIGNS:
            if sign.fits(cause):
                return Failure(sign.reason, sign.sentence.format(first_line=_first_line(str(cause))), cause=sign.cause)
        if sentence := storage_sentence(cause, folder):
            return Failure(ReasonCode.STORAGE_ERROR, sentence)
        cause = cause.__cause__
    return None


def _disk_full(error: BaseException | None) -> BaseException | None:
    """The error in the chain that was caused by a full disk."""
    while error is not None:
        if isinstance(error, OSError) and is_disk_full(error):
            return error
        if is_native(error) and _DISK_FULL.search(str(error)):
            return error
        error = error.__cause__ or error.__context__
    return None


def _full_disk_sentence(full: BaseException, folder: Path) -> str:
    where = getattr(full, "filename", None) or folder
    return f"The disk of {where} is full ({free_bytes(folder):,} bytes free). Free some space, then resume the job."


def _of_own_error(error: FineTuneLabError) -> ReasonCode:
    known = _REASONS_OF_CODES.get(error.code)
    if known is not None:
        return known
    return ReasonCode.CONFIG_INVALID if 400 <= error.status < 500 else ReasonCode.INTERNAL_ERROR


def _cause_of_own_error(error: FineTuneLabError) -> FailureCause | None:
    cause = _CAUSES_OF_CODES.get(error.code)
    is_tokenizer = cause is FailureCause.MODEL_DAMAGED and _OF_TOKENIZER.search(error.message)
    return FailureCause.TOKENIZER if is_tokenizer else cause


def _first_line(text: str) -> str:
    line = text.strip().split(os.linesep)[0][:300] if text.strip() else "no message"
    return line if line.endswith(".") else line + "."
