"""K-quants of a GGUF file, by the program `llama-quantize` of llama.cpp that the settings name."""

import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import gguf
from transformers import PreTrainedModel

from ftlab.errors import FineTuneLabError
from ftlab.files import sha256_of
from ftlab.schemas.export import GgufKType
from train.export.gguf_file import FILE, GgufFormat
from train.inference import keeper

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE_TYPES: dict[GgufKType, gguf.LlamaFileType] = {
    "q3_k_m": gguf.LlamaFileType.MOSTLY_Q3_K_M,
    "q4_k_s": gguf.LlamaFileType.MOSTLY_Q4_K_S,
    "q4_k_m": gguf.LlamaFileType.MOSTLY_Q4_K_M,
    "q5_k_s": gguf.LlamaFileType.MOSTLY_Q5_K_S,
    "q5_k_m": gguf.LlamaFileType.MOSTLY_Q5_K_M,
    "q6_k": gguf.LlamaFileType.MOSTLY_Q6_K,
}
LAST_LINES = 20
_TENSOR = re.compile(r"\[ *[0-9]+/ *[0-9]+\] ")
"""Beginning of the line that the program prints for each tensor."""


@dataclass(frozen=True)
class QuantizedFormat:
    """The format `gguf` with K-quants, made of a more precise file in the same folder that was compared before."""

    source: GgufFormat
    type: GgufKType
    program: Path
    threads: int

    @property
    def weight_type(self) -> str:
        return self.type.upper()

    def write(self, folder: Path, after_tensor: Callable[[], None]) -> Mapping[str, str]:
        """Replace the file by its K-quants; return the SHA-256 of the new one by its name.

        Raise `FineTuneLabError` (`quantizer_failed`) when the program does not do what it should.
        """
        finer, coarser = folder / "finer.gguf", folder / FILE
        coarser.rename(finer)
        self._run([str(finer), str(coarser), self.type.upper(), str(self.threads)], after_tensor)
        finer.unlink()
        found = _file_type(coarser)
        if found != FILE_TYPES[self.type]:
            raise _failed(f"it wrote a file of the type {found}, and {self.type} is {FILE_TYPES[self.type].value}")
        return {FILE: sha256_of(coarser)}

    def load(self, folder: Path, *, use_cuda: bool) -> PreTrainedModel:
        """As the more precise file: transformers reads K-quants too."""
        return self.source.load(folder, use_cuda=use_cuda)

    def load_tokenizer(self, folder: Path) -> "PreTrainedTokenizerBase":
        return self.source.load_tokenizer(folder)

    def write_deployment(self, folder: Path, name: str) -> Mapping[str, str]:
        return self.source.write_deployment(folder, name)

    def _run(self, arguments: list[str], after_tensor: Callable[[], None]) -> None:
        """Run the program. Its keeper ends it when this process dies, and when `after_tensor` raises."""
        try:
            process = subprocess.Popen(
                [sys.executable, "-S", str(Path(keeper.__file__)), str(self.program), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise _failed(f"it cannot be started ({error.strerror})") from None
        last: deque[str] = deque(maxlen=LAST_LINES)
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if _TENSOR.match(line):
                        after_tensor()
                    if line.strip():
                        last.append(line.strip())
            finally:
                process.stdin.close()
                process.wait()
        if process.returncode != 0:
            said = f", and its last line is: {last[-1][:300]}" if last else ""
            raise _failed(f"it ended with exit code {process.returncode}{said}")


def _file_type(file: Path) -> int | None:
    """`general.file_type` of a GGUF file; `None` where there is no such file."""
    try:
        field = gguf.GGUFReader(file).get_field(gguf.Keys.General.FILE_TYPE)
    except (OSError, ValueError):
        return None
    return None if field is None else int(field.contents())


def _failed(why: str) -> FineTuneLabError:
    return FineTuneLabError(
        f"The program of the setting llama_quantize did not quantise the model: {why}. Check the setting and the "
        "program, then export again.",
        "quantizer_failed",
    )
