"""The header of a safetensors file: its contents, and whether the file is complete.

Format: 8 bytes with the header's length (little-endian), the header as JSON, then the tensors' bytes
(https://github.com/huggingface/safetensors#format).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

MAX_HEADER_BYTES = 100_000_000
"""Limit of the format itself."""


class HeaderError(ValueError):
    """The file is not a whole safetensors file; the message says why."""


@dataclass(frozen=True)
class WeightHeader:
    shapes: dict[str, tuple[int, ...]]
    """Shape of each tensor."""

    @property
    def num_parameters(self) -> int:
        return sum(prod(shape) for shape in self.shapes.values())


def read_header(read: Callable[[int], bytes], size_bytes: int) -> WeightHeader:
    """Read the header of a file of `size_bytes`; `read(n)` gives its first `n` bytes.

    Raises `HeaderError` for a header that cannot be read and for a file whose length differs.
    """
    length = int.from_bytes(read(8), "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, size_bytes - 8):
        raise HeaderError("its header cannot be read")
    content = read(8 + length)[8:]
    try:
        document = json.loads(content)
        tensors = {name: entry for name, entry in document.items() if name != "__metadata__"}
        shapes = {name: tuple(int(size) for size in entry["shape"]) for name, entry in tensors.items()}
        end = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError):
        raise HeaderError("its header cannot be read") from None
    # No format keeps a number in less than a bit.
    if any(size < 0 for shape in shapes.values() for size in shape) or sum(map(prod, shapes.values())) > 8 * end:
        raise HeaderError("its header cannot be read")
    if 8 + length + end != size_bytes:
        raise HeaderError(f"it has {size_bytes:,} bytes and should have {8 + length + end:,}")
    return WeightHeader(shapes)
