"""A program with the arguments and the output of llama.cpp's `llama-quantize`, over the functions of ggml that the
package xllamacpp contains: INPUT OUTPUT TYPE [THREADS].

It writes the real K-quants. Which tensor gets which type is a part of what llama-quantize decides: the output layer, or
the embedding that takes its place, and half of the values and of the second projections are more precise in the types
that end with M; rows that cannot be divided into blocks of 256 get an older type.
"""

import ctypes
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import xllamacpp
from gguf import GGMLQuantizationType as T

BASE = {"Q3_K_M": T.Q3_K, "Q4_K_S": T.Q4_K, "Q4_K_M": T.Q4_K, "Q5_K_S": T.Q5_K, "Q5_K_M": T.Q5_K, "Q6_K": T.Q6_K}
MORE_PRECISE = {"Q3_K_M": T.Q5_K, "Q4_K_M": T.Q6_K, "Q5_K_M": T.Q6_K}
FOR_OTHER_ROWS = {T.Q3_K: T.Q4_0, T.Q4_K: T.Q5_0, T.Q5_K: T.Q5_1, T.Q6_K: T.Q8_0}


def main(source: str, target: str, name: str, _: str = "1") -> int:
    if name not in BASE:
        print(f"main: invalid ftype '{name}'")
        return 1
    [library] = Path(xllamacpp.__file__).parent.glob("*.so")
    ggml = ctypes.CDLL(str(library))
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in ("general.architecture", "general.file_type"):
            sub_type = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{name}"])
    for number, tensor in enumerate(reader.tensors, 1):
        print(
            f"[{number:4}/{len(reader.tensors):4}] {tensor.name} - {list(tensor.shape)}, "
            f"type = {tensor.tensor_type.name}"
        )
        if tensor.tensor_type == T.F32:
            writer.add_tensor(tensor.name, tensor.data)
            continue
        values = np.ascontiguousarray(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        kind = type_of(tensor.name, name, values.shape[-1])
        writer.add_tensor(tensor.name, quantized(ggml, values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print("main: quantize time")
    return 0


def type_of(tensor: str, name: str, num_columns: int) -> T:
    is_output = tensor in ("output.weight", "token_embd.weight")
    is_half = tensor.endswith(("attn_v.weight", "ffn_down.weight")) and int(tensor.split(".")[1]) % 2 == 0
    kind = T.Q6_K if is_output else MORE_PRECISE.get(name, BASE[name]) if is_half else BASE[name]
    return kind if num_columns % 256 == 0 else FOR_OTHER_ROWS[kind]


def quantized(ggml: Any, values: "np.ndarray[Any, Any]", kind: T) -> "np.ndarray[Any, Any]":
    rows, columns = values.shape
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    content = np.empty((rows, columns // block * block_bytes), dtype=np.uint8)
    pointer = ctypes.c_void_p
    written = ggml.ggml_quantize_chunk(
        ctypes.c_int(kind), values.ctypes.data_as(pointer), content.ctypes.data_as(pointer), ctypes.c_int64(0),
        ctypes.c_int64(rows), ctypes.c_int64(columns), pointer(None),
    )  # fmt: skip
    assert written == content.nbytes
    return content


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
