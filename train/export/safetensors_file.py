"""Writes a safetensors file one tensor at a time, so that no more than one is in memory.

Format: 8 bytes with the header's length (little-endian), the header as JSON, then the tensors' bytes
(https://github.com/huggingface/safetensors#format).
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The types of the format that PyTorch models are stored in."""
ALIGNMENT = 8


def write_safetensors(
    path: Path, entries: Sequence[tuple[str, str, tuple[int, ...]]], tensor_of: Callable[[str], Tensor]
) -> str:
    """Write tensors by their names, types and shapes; return the file's SHA-256.

    `tensor_of` gives each tensor when its turn comes; it is cast to its type here.
    """
    # The widest types first keeps each tensor aligned.
    ordered = sorted(entries, key=lambda entry: (-TYPES[entry[1]].itemsize, entry[0]))
    digest = hashlib.sha256()
    with path.open("wb") as file:
        header = _header(ordered)
        file.write(header)
        digest.update(header)
        for name, type_name, shape in ordered:
            tensor = tensor_of(name)
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, not {shape}")
            content = _bytes_of(tensor.to(TYPES[type_name]))
            del tensor
            file.write(content)
            digest.update(content)
    return digest.hexdigest()


def _header(entries: Sequence[tuple[str, str, tuple[int, ...]]]) -> bytes:
    document: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, type_name, shape in entries:
        begin, end = end, end + prod(shape) * TYPES[type_name].itemsize
        document[name] = {"dtype": type_name, "shape": list(shape), "data_offsets": [begin, end]}
    content = json.dumps(document, separators=(",", ":")).encode()
    content += b" " * (-len(content) % ALIGNMENT)
    return len(content).to_bytes(8, "little") + content


def _bytes_of(tensor: Tensor) -> memoryview:
    """The bytes of a tensor, without a copy where it is contiguous."""
    return memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
