"""From exceptions, as the libraries really raise them, to reasons and sentences."""

import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from pickle import UnpicklingError
from threading import Event, Thread

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.distributed as dist
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from ftlab.errors import (
    ConflictError,
    FineTuneLabError,
    InternalServerError,
    InvalidRequestError,
    NotFoundError,
    ServiceUnavailableError,
)
from ftlab.status import ReasonCode
from train.data.rows.errors import DatasetInvalidError
from train.failures.classify import classify
from train.failures.errors import DeviceTooSmallError, LossDivergedError

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
        (RuntimeError("CUDA error: an illegal memory access was encountered"), R.GPU_LOST, "Xid"),
        (RuntimeError("CUDA error: invalid configuration argument"), R.INTERNAL_ERROR, "invalid configuration"),
        (
            RuntimeError("CUDA error: no kernel image is available for"),
            R.CONFIG_INVALID,
            "built for this GPU",
        ),
        (RuntimeError("NCCL error: Last error: Cuda failure 2 'out of memory'"), R.DEVICE_OOM, "batch_size"),
        (RuntimeError("CUDA error: device-side assert triggered"), R.INTERNAL_ERROR, "out of range"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), R.DISK_FULL, "/data/x is full"),
        (UnpicklingError("Weights only load failed."), R.CHECKPOINT_CORRUPT, "Resume from another checkpoint"),
        (hub_error(GatedRepoError), R.MODEL_ACCESS_DENIED, "gated"),
        (hub_error(RepositoryNotFoundError), R.MODEL_NOT_FOUND, "Check its name"),
        (hub_error(LocalEntryNotFoundError), R.MODEL_NOT_FOUND, "Check its name"),
        (OSError("We couldn't connect to 'https://huggingface.co' to load"), R.MODEL_NOT_FOUND, "Check its name"),
        (
            RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:1"),
            R.COLLECTIVE_ERROR,
            "lost their connection to each other",
        ),
        (RuntimeError("NCCL error: unhandled system error"), R.COLLECTIVE_ERROR, "lost their connection to each other"),
        (RuntimeError("std::bad_alloc"), R.HOST_OOM, "smaller batch"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), R.HOST_OOM, "smaller batch"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/data/x"), R.DISK_FULL, "/data/x is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), R.STORAGE_ERROR, "/data/x cannot be read"),
        (OSError(errno.EROFS, "Read-only file system", "/data/x"), R.STORAGE_ERROR, "Give the user"),
        (OSError(errno.EIO, "Input/output error"), R.STORAGE_ERROR, "Check the disk"),
        (OSError(errno.ESTALE, "Stale file handle", "/nfs/x"), R.STORAGE_ERROR, "the network storage"),
        (OSError(errno.EMFILE, "Too many open files", "/data/x"), R.STORAGE_ERROR, "ulimit -n"),
        (SafetensorError("I/O error: Permission denied (os error 13)"), R.STORAGE_ERROR, "Permission denied. Give"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/elsewhere/x"), R.INTERNAL_ERROR, "/elsewhere/x"),
        (ValueError("The gloo or NCCL ProcessGroup of No CUDA GPUs"), R.INTERNAL_ERROR, "ValueError"),
        (RuntimeError("The NCCL and gloo backends need a ProcessGroup"), R.INTERNAL_ERROR, "RuntimeError"),
        (ValueError("unexpected position 3"), R.INTERNAL_ERROR, "unexpected position"),
        (InternalServerError("It broke."), R.INTERNAL_ERROR, "It broke."),
        (FineTuneLabError("It broke."), R.INTERNAL_ERROR, "It broke."),
        (ServiceUnavailableError("Away.", "storage_unavailable"), R.INTERNAL_ERROR, "Away."),
        (ServiceUnavailableError("The hub is away.", "model_hub_away"), R.MODEL_NOT_FOUND, "The hub is away."),
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


def lone_rank(*, is_other_alive: bool) -> BaseException:
    """The error of an all-reduce over gloo whose other rank does not take part."""
    store, errors, has_ended = dist.HashStore(), [], Event()

    def join(rank: int) -> None:
        group = dist.ProcessGroupGloo(store, rank, 2, timedelta(seconds=0.3))
        if rank == 0:
            errors.append(raised(lambda: group.allreduce([torch.ones(1)]).wait()))
            has_ended.set()
        elif is_other_alive:
            has_ended.wait(10)

    threads = [Thread(target=join, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [error] = errors
    return error


@pytest.mark.parametrize(
    ("provoke", "reason", "words"),
    [
        pytest.param(
            lambda: lone_rank(is_other_alive=False),
            R.COLLECTIVE_ERROR,
            "lost their connection to each other",
            id="rank gone",
        ),
        pytest.param(lambda: lone_rank(is_other_alive=True), R.COLLECTIVE_ERROR, "Timed out", id="rank hangs"),
        pytest.param(
            lambda: raised(lambda: dist.HashStore().wait(["x"], timedelta(milliseconds=10))),
            R.COLLECTIVE_ERROR,
            "Wait timeout",
            id="store",
        ),
        pytest.param(
            lambda: raised(lambda: torch.nn.Embedding(3, 2)(torch.tensor([5]))),
            R.CONFIG_INVALID,
            "index out of range",
            id="token beyond the embedding",
        ),
        pytest.param(
            lambda: raised(lambda: torch.nn.functional.cross_entropy(torch.zeros(1, 3), torch.tensor([7]))),
            R.CONFIG_INVALID,
            "Target 7",
            id="label beyond the output layer",
        ),
        pytest.param(lambda: raised(lambda: pa.allocate_buffer(2**55)), R.HOST_OOM, "smaller batch", id="Arrow"),
        pytest.param(lambda: raised(lambda: np.empty(2**55)), R.HOST_OOM, "smaller batch", id="NumPy"),
        pytest.param(lambda: raised(Path("/").read_bytes), R.STORAGE_ERROR, "Is a directory", id="folder"),
        pytest.param(
            lambda: raised(lambda: Path("/dev/null/x").mkdir()), R.STORAGE_ERROR, "Not a directory", id="no folder"
        ),
        pytest.param(
            lambda: raised(lambda: save_file({"a": torch.zeros(1)}, "/dev/null/x")),
            R.STORAGE_ERROR,
            "Not a directory",
            id="safetensors",
        ),
        pytest.param(lambda: raised(lambda: {}["x"]), R.INTERNAL_ERROR, "KeyError", id="a bug"),
    ],
)
def test_what_the_libraries_raise(provoke: Callable[[], BaseException], reason: ReasonCode, words: str, tmp_path: Path):
    failure = classify(provoke(), tmp_path)
    assert (failure.reason, words in failure.message) == (reason, True), failure.message


@pytest.mark.skipif(torch.backends.cuda.is_built(), reason="needs a PyTorch without CUDA")
def test_a_gpu_for_a_pytorch_without_cuda(tmp_path: Path):
    failure = classify(raised(lambda: torch.ones(1).cuda()), tmp_path)
    assert failure.reason is R.CONFIG_INVALID
    assert "gpus_per_worker" in failure.message


def test_files_that_are_missing_in_the_job_folder(tmp_path: Path):
    failure = classify(raised((tmp_path / "checkpoints" / "x").read_bytes), tmp_path)
    assert failure.reason is R.STORAGE_ERROR
    assert "nothing else moves" in failure.message


def test_the_cause_of_an_error_counts(tmp_path: Path):
    def load() -> None:
        try:
            raise OSError(errno.EIO, os.strerror(errno.EIO), "/data/x")
        except OSError as error:
            raise ValueError("The file is not a model.") from error

    failure = classify(raised(load), tmp_path)
    assert (failure.reason, "/data/x" in failure.message) == (R.STORAGE_ERROR, True)


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


def test_a_full_disk_is_known_while_the_tokenizer_is_written(tmp_path: Path):
    """tokenizers raises a bare `Exception`."""
    error = raised(lambda: Tokenizer(models.BPE()).save("/dev/full"))
    assert type(error) is Exception
    assert classify(error, tmp_path).reason is R.DISK_FULL


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


def test_what_the_error_noted_is_evidence(tmp_path: Path):
    diverged = LossDivergedError("The loss became nan at step 3.")
    diverged.add_note("Rows of step 3: dataset ds-1, line 7.")
    assert classify(diverged, tmp_path).notes == ("Rows of step 3: dataset ds-1, line 7.",)
    too_small = classify(DeviceTooSmallError("30.0 GB are needed, and 24.0 GB are there"), tmp_path)
    assert too_small.notes == (
        "The memory probe with the longest rows measured: 30.0 GB are needed, and 24.0 GB are there.",
    )
