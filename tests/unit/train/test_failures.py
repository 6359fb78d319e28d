"""From exceptions, as the libraries really raise them, to reasons and sentences."""

import errno
import os
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import save_file

from ftlab.errors import ConflictError, FineTuneLabError, InvalidRequestError, NotFoundError
from ftlab.status import ReasonCode
from train.data.rows.errors import DatasetInvalidError
from train.failures import LossDivergedError, classify

R = ReasonCode


class ArrayMemoryError(MemoryError):
    """NumPy has one of its own."""


def raised(action) -> BaseException:
    with pytest.raises(BaseException) as caught:
        action()
    return caught.value


def hub_error(kind: type[Exception]) -> Exception:
    return kind.__new__(kind)


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (DatasetInvalidError("Line 3: no role."), R.DATASET_INVALID, "Line 3: no role."),
        (NotFoundError("The folder is gone.", "model_not_found"), R.MODEL_NOT_FOUND, "The folder is gone."),
        (InvalidRequestError("float16 needs a GPU."), R.CONFIG_INVALID, "float16 needs a GPU."),
        (ConflictError("The model changed.", "model_changed"), R.CONFIG_INVALID, "The model changed."),
        (FineTuneLabError("All are broken.", "checkpoint_corrupt"), R.CHECKPOINT_CORRUPT, "All are broken."),
        (LossDivergedError("The loss became nan at step 3."), R.LOSS_DIVERGED, "learning_rate"),
        (MemoryError(), R.HOST_OOM, "smaller batch"),
        (ArrayMemoryError(), R.HOST_OOM, "smaller batch"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), R.DEVICE_OOM, "batch_size"),
        (RuntimeError("CUDA error: out of memory"), R.DEVICE_OOM, "load_in_4bit"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), R.DEVICE_OOM, "batch_size"),
        (RuntimeError("CUDA error: unspecified launch failure"), R.GPU_LOST, "no longer answers"),
        (RuntimeError("No CUDA GPUs are available"), R.GPU_LOST, "Xid"),
        (RuntimeError("CUDA error: device-side assert triggered"), R.INTERNAL_ERROR, "out of its range"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), R.DISK_FULL, "/data/x is full"),
        (hub_error(GatedRepoError), R.MODEL_ACCESS_DENIED, "gated"),
        (hub_error(RepositoryNotFoundError), R.MODEL_NOT_FOUND, "Check its name"),
        (hub_error(LocalEntryNotFoundError), R.MODEL_NOT_FOUND, "Check its name"),
        (OSError("We couldn't connect to 'https://huggingface.co' to load"), R.MODEL_NOT_FOUND, "Check its name"),
        (RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:1"), R.COLLECTIVE_ERROR, "lost each other"),
        (RuntimeError("NCCL error: unhandled system error"), R.COLLECTIVE_ERROR, "lost each other"),
        (KeyError("x"), R.INTERNAL_ERROR, "KeyError: 'x'."),
        (RuntimeError(), R.INTERNAL_ERROR, "RuntimeError: no message."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_every_error_has_a_reason_and_a_sentence(error: BaseException, reason: ReasonCode, words: str, tmp_path: Path):
    failure = classify(error, tmp_path)
    assert failure.reason is reason
    assert words in failure.message
    assert failure.message.endswith(".")
    assert type(error).__name__ in failure.traceback


def test_no_memory_for_a_tensor(tmp_path: Path):
    assert classify(raised(lambda: torch.empty(2**50)), tmp_path).reason is R.HOST_OOM


def test_a_full_disk_is_known_from_the_file_that_failed(tmp_path: Path):
    def write() -> None:
        with open("/dev/full", "wb") as stream:
            stream.write(b"x")

    failure = classify(raised(write), tmp_path)
    assert failure.reason is R.DISK_FULL
    assert "bytes free" in failure.message


def test_a_full_disk_is_known_while_the_optimizer_is_written(tmp_path: Path):
    """`torch.save` only tells that fewer bytes are in the file than it wrote."""
    error = raised(lambda: torch.save({"state": torch.zeros(100_000)}, "/dev/full"))
    failure = classify(error, tmp_path)
    assert failure.reason is R.DISK_FULL
    assert str(tmp_path) in failure.message


def test_a_full_disk_is_known_while_the_weights_are_written(tmp_path: Path):
    """As `safetensors` words it; it cannot be provoked without a full disk."""
    error = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert classify(error, tmp_path).reason is R.DISK_FULL
    with pytest.raises(SafetensorError, match=r"I/O error: .* \(os error 20\)"):
        save_file({"a": torch.zeros(1)}, "/dev/null/weights.safetensors")


def test_a_full_disk_behind_another_error(tmp_path: Path):
    def save() -> None:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise RuntimeError("The checkpoint was not saved.") from error

    assert classify(raised(save), tmp_path).reason is R.DISK_FULL


def test_a_job_whose_folder_is_not_there_yet(tmp_path: Path):
    failure = classify(OSError(errno.ENOSPC, "full"), tmp_path / "job" / "none")
    assert failure.reason is R.DISK_FULL


def test_long_words_are_cut(tmp_path: Path):
    failure = classify(ValueError("x" * 5000 + "\nsecond line"), tmp_path)
    assert len(failure.message) < 400
    assert "second line" not in failure.message
