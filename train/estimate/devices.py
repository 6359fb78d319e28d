"""Whether a peak fits the memory of a device."""

from enum import StrEnum

from train.device_defaults import AMPERE

GIB = 1024**3
MARGIN = 0.15
"""Relative error of the estimate that is allowed for: a peak this close to the memory is neither fits nor does not."""
GPU_MEMORY_GIB: dict[str, tuple[float, float]] = {
    "T4": (14.6, 14.6),
    "V100": (15.8, 31.7),
    "P100": (11.9, 15.9),
    "A10G": (22.0, 22.0),
    "L4": (22.0, 22.0),
    "L40S": (44.4, 44.4),
    "A100": (39.4, 79.2),
    "A100-40G": (39.4, 39.4),
    "A100-80G": (79.2, 79.2),
    "H100": (79.1, 93.0),
    "H200": (139.8, 139.8),
    "B200": (178.0, 178.0),
}
"""Usable memory by Ray's names of GPU types: that of the smallest and of the largest model with the name, which Ray
does not distinguish. From the makers' data sheets, less what the driver keeps."""

OLDER_CAPABILITIES = {"T4": (7, 5), "V100": (7, 0), "P100": (6, 0)}
"""Compute capabilities below 8.0 by the same names, from NVIDIA's list of GPUs."""


class Fit(StrEnum):
    FITS = "fits"
    DOES_NOT_FIT = "does_not_fit"
    UNKNOWN = "unknown"


def gpu_memory(gpu_type: str | None) -> tuple[int, int] | None:
    """Bytes of the smallest and the largest GPU of the type; `None` for one that is not known."""
    found = GPU_MEMORY_GIB.get(gpu_type or "")
    return (int(found[0] * GIB), int(found[1] * GIB)) if found else None


def gpu_capability(gpu_type: str | None) -> tuple[int, int]:
    """Compute capability of the GPU type if it is below 8.0; otherwise 8.0, from which the precision is the same."""
    return OLDER_CAPABILITIES.get(gpu_type or "", AMPERE)


def fit(peak: int, memory: tuple[int, int]) -> Fit:
    """Whether a peak fits devices whose memory is in a range of bytes."""
    least, most = memory
    if peak * (1 + MARGIN) <= least:
        return Fit.FITS
    return Fit.DOES_NOT_FIT if peak > most * (1 + MARGIN) else Fit.UNKNOWN
