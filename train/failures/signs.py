"""Signs by which errors of other libraries are recognised, with a sentence for each: torch, NCCL, the hub, files."""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ftlab.status import FailureCause, ReasonCode

_RUST_ERRNO = re.compile(r"\(os error (\d+)\)")
"""End of an I/O error of safetensors and tokenizers."""
_NATIVE = ("RuntimeError", "OSError", "SafetensorError")
"""Classes in which native code reports its errors: torch, safetensors, the C library."""


@dataclass(frozen=True)
class Sign:
    """Signs of a reason in an error of another library: the class, and the words of the message."""

    reason: ReasonCode
    sentence: str
    names: tuple[str, ...]
    """Names of classes; the error is an instance of one of them."""
    pattern: str = ""
    """Regular expression that the message contains."""
    cause: FailureCause | None = None
    """`None` where it follows from the reason."""

    def fits(self, error: BaseException) -> bool:
        is_named = any(cls.__name__ in self.names for cls in type(error).__mro__)
        return is_named and re.search(self.pattern, str(error)) is not None


_MODEL_NOT_FOUND = (
    "The base model was found neither on this machine nor on the hub. "
    "Check its name, or put the model in the models folder."
)
_HOST_OOM = "The machine's memory is used up. Use a smaller batch, a shorter method.max_length or a smaller model."
_GPU_LOST = (
    "The GPU no longer answers this run: {first_line} If it happens again, look for Xid errors in the machine's log."
)
_COLLECTIVE_ERROR = "The workers lost their connection to each other: {first_line}"

SIGNS = (
    Sign(
        ReasonCode.CHECKPOINT_CORRUPT,
        "A file of the checkpoint is not one that a job writes, and was not loaded. Resume from another checkpoint.",
        ("UnpicklingError",),
        "Weights only load failed",
    ),
    Sign(ReasonCode.HOST_OOM, _HOST_OOM, ("MemoryError",)),
    Sign(
        ReasonCode.HOST_OOM,
        _HOST_OOM,
        _NATIVE,
        r"DefaultCPUAllocator: (can't|not enough)|Cannot allocate memory|std::bad_alloc",
    ),
    Sign(
        ReasonCode.DEVICE_OOM,
        "The GPU's memory is used up. Halve training.per_device_train_batch_size and double "
        "training.gradient_accumulation_steps, or set training.gradient_checkpointing or load_in_4bit.",
        ("RuntimeError",),
        # The last one is how NCCL reports it.
        r"CUDA out of memory|CUDA (driver )?error: out of memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED"
        r"|Cuda failure (\d+ )?'out of memory'",
    ),
    Sign(
        # Tokens and positions beyond the embeddings are refused before the first step. What else fails an assertion
        # on the GPU, and whose mistake that is, is not in the message.
        ReasonCode.INTERNAL_ERROR,
        "A computation on the GPU failed on a value out of range: {first_line} The job's log has the traceback.",
        ("RuntimeError",),
        "device-side assert",
        FailureCause.CUDA_ERROR,
    ),
    Sign(
        ReasonCode.CONFIG_INVALID,
        "The GPU, its driver and the installed PyTorch are not compatible: {first_line} Install a PyTorch that is "
        "built for this GPU, or train on the CPU with resources.gpus_per_worker 0.",
        ("RuntimeError", "AssertionError"),
        r"no kernel image is available|driver version is insufficient|NVIDIA driver on your system is too old"
        r"|Torch not compiled with CUDA",
    ),
    Sign(
        ReasonCode.GPU_LOST,
        _GPU_LOST,
        ("RuntimeError",),
        r"CUDA (driver )?error: (unknown error|uncorrectable|initialization error|driver shutting down"
        r"|invalid device ordinal|no CUDA-capable device|CUDA-capable device\(s\) is/are busy|device not ready)"
        r"|No CUDA GPUs are available|Found no NVIDIA driver|GPU is lost",
    ),
    Sign(
        ReasonCode.GPU_LOST,
        _GPU_LOST,
        ("RuntimeError",),
        # A wrong argument for the GPU is not among them: that is a bug, and a retry meets it again.
        r"CUDA (driver )?error: (unspecified launch failure|an illegal memory access|an illegal instruction"
        r"|hardware stack error|the launch timed out|Invalid access of peer GPU memory|misaligned address"
        r"|CUBLAS_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|NOT_INITIALIZED))"
        r"|cuDNN error: CUDNN_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|NOT_INITIALIZED)",
        FailureCause.CUDA_ERROR,
    ),
    Sign(
        ReasonCode.MODEL_ACCESS_DENIED,
        "The model is gated: accept its licence on the hub and start the service with the variable HF_TOKEN.",
        ("GatedRepoError",),
    ),
    Sign(
        ReasonCode.MODEL_NOT_FOUND,
        _MODEL_NOT_FOUND,
        ("RepositoryNotFoundError", "RevisionNotFoundError", "LocalEntryNotFoundError"),
    ),
    Sign(
        ReasonCode.MODEL_NOT_FOUND,
        _MODEL_NOT_FOUND,
        ("OSError",),
        r"is not a valid model identifier|is not a local folder|Repository Not Found|couldn't connect to",
    ),
    Sign(ReasonCode.COLLECTIVE_ERROR, _COLLECTIVE_ERROR, ("DistError",)),
    Sign(
        ReasonCode.COLLECTIVE_ERROR,
        _COLLECTIVE_ERROR,
        ("RuntimeError",),
        r"/gloo/|Connection closed by peer \[|NCCL error|NCCL communicator was aborted"
        r"|Watchdog caught collective operation timeout",
    ),
    Sign(
        ReasonCode.CONFIG_INVALID,
        "A row has a token or a position that the model has no embedding for: {first_line} Use the tokenizer that "
        "belongs to the model's weights, and a method.max_length within the model's positions.",
        ("IndexError",),
        r"^index out of range in self|^Target -?\d+ is out of bounds",
        FailureCause.TOKENIZER,
    ),
)

_ACCESS = "Give the user that the service runs as access to it, then submit the job again."
_DEVICE = "Check the disk or the network storage that it is on, then submit the job again."
_LIMIT = "Raise the limit of open files (ulimit -n) and start the service again."
_LAYOUT = "Make sure that nothing else moves, replaces or deletes the service's files, then submit the job again."
_STORAGE_REMEDIES = {
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EROFS: _ACCESS,
    errno.EIO: _DEVICE,
    errno.ENXIO: _DEVICE,
    errno.ESTALE: _DEVICE,
    errno.EFBIG: _DEVICE,
    errno.EMFILE: _LIMIT,
    errno.ENFILE: _LIMIT,
    errno.ENOTDIR: _LAYOUT,
    errno.EISDIR: _LAYOUT,
    errno.EEXIST: _LAYOUT,
    errno.ENOTEMPTY: _LAYOUT,
}
"""The remedy for an error of the file system. A missing file is one of them only in the job's folder."""


def is_native(error: BaseException) -> bool:
    """Whether the error is of a class in which native code reports its errors: tokenizers raises a bare `Exception`."""
    return type(error) is Exception or any(cls.__name__ in _NATIVE for cls in type(error).__mro__)


def storage_sentence(error: BaseException, folder: Path) -> str | None:
    """The sentence for an error of the file system; `None` for any other error."""
    number, file = None, None
    if isinstance(error, OSError):
        number, file = error.errno, error.filename
    elif is_native(error) and (found := _RUST_ERRNO.search(str(error))):
        number = int(found[1])
    if number is None:
        return None
    in_job = file is None or (isinstance(file, str | os.PathLike) and Path(file).is_relative_to(folder))
    remedy = _LAYOUT if number == errno.ENOENT and in_job else _STORAGE_REMEDIES.get(number)
    if remedy is None:
        return None
    where = f"The file {file}" if file is not None else f"A file of the job in {folder}"
    return f"{where} cannot be read or written: {os.strerror(number)}. {remedy}"
