"""K-quants of the tiny model, made by the functions of ggml."""

import sys
from dataclasses import replace
from pathlib import Path

import gguf
import pytest

from ftlab.errors import FineTuneLabError, InvalidRequestError
from ftlab.schemas import EventKind
from tests.support import llama_quantize
from tests.support.tiny_models import make_tiny_model
from tests.unit.train.export.test_run import changed, receipt_of
from tests.unit.train.runs import Link
from train.export.answer_check import LARGEST, TYPICAL
from train.export.gguf_file import FILE
from train.export.gguf_quantize import FILE_TYPES
from train.export.run import run
from train.plan import ExportPlan

ROOT = Path(llama_quantize.__file__).parents[2]


def program(folder: Path, body: str) -> Path:
    """An executable file with this code."""
    file = folder / "llama-quantize"
    file.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n{body}\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def k_plan(plan: ExportPlan, tmp_path: Path) -> ExportPlan:
    """An export of a model whose rows can be divided into blocks of 256 numbers."""
    base = make_tiny_model(tmp_path / "models" / "org--wide", hidden=256)
    quantizer = program(tmp_path, "from tests.support.llama_quantize import main\nsys.exit(main(*sys.argv[1:]))")
    plan = replace(plan, model=str(base), local_base=None, quantizer=quantizer)
    return changed(plan, formats=["gguf"], gguf_type="q4_k_m")


def test_k_quants_are_compared_with_bounds_of_their_own(k_plan: ExportPlan):
    link = Link()
    run(k_plan, link)
    receipt = receipt_of(k_plan, "gguf-q4_k_m")
    assert (receipt.is_good, receipt.same_tokens, receipt.weight_type) == (True, True, "q4_k_m")
    assert receipt.bound == LARGEST["Q4_K_M"] * receipt.spread
    # More than the rounding to 8 bits and less than the bound: the file was compared after the quantisation.
    assert TYPICAL["F16"] * receipt.spread < receipt.typical_difference < receipt.typical_bound
    folder = k_plan.artifacts_folder / "gguf-q4_k_m"
    assert {path.name for path in folder.iterdir()} == {
        *(FILE, "Modelfile", "README.md", "receipt.json", "manifest.json"),
    }
    reader = gguf.GGUFReader(folder / FILE)
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert (types["blk.1.attn_q.weight"], types["token_embd.weight"]) == ("Q4_K", "Q6_K")
    assert (folder / FILE).stat().st_size < 900_000
    steps = [each["step"] for each in link.told(EventKind.PROGRESS)]
    assert steps[-1] == link.told(EventKind.PROGRESS)[-1]["total_steps"]


def test_k_quants_beyond_their_bound_are_refused(k_plan: ExportPlan, tmp_path: Path):
    body = """
from tests.support import llama_quantize
quantized = llama_quantize.quantized
llama_quantize.quantized = lambda ggml, values, kind: quantized(ggml, values[::-1].copy(), kind)
sys.exit(llama_quantize.main(*sys.argv[1:]))"""
    with pytest.raises(FineTuneLabError, match=r"the bound for q4_k_m is") as caught:
        run(replace(k_plan, quantizer=program(tmp_path, body)), Link())
    assert caught.value.code == "export_differs"
    assert list(k_plan.artifacts_folder.iterdir()) == []


def test_a_program_that_fails_is_reported(k_plan: ExportPlan, tmp_path: Path):
    copy = "import shutil; shutil.copyfile(sys.argv[1], sys.argv[2])"
    for body, message in (
        ("print('main: failed to load model'); sys.exit(3)", "exit code 3, and its last line is: main: failed to load"),
        (copy, "it wrote a file of the type 1, and q4_k_m is 15"),
        ("pass", "it wrote a file of the type None"),
    ):
        with pytest.raises(FineTuneLabError, match=message) as caught:
            run(replace(k_plan, quantizer=program(tmp_path, body)), Link())
        assert caught.value.code == "quantizer_failed"
    with pytest.raises(InvalidRequestError, match="llama_quantize"):
        run(replace(k_plan, quantizer=None), Link())
    with pytest.raises(FineTuneLabError, match="exit code"):
        run(replace(k_plan, quantizer=tmp_path / "none"), Link())


def test_every_type_has_its_bounds():
    for gguf_type in FILE_TYPES:
        assert LARGEST[gguf_type.upper()] > LARGEST["F16"]
        assert TYPICAL["F16"] < TYPICAL[gguf_type.upper()] < 1.4  # that of two models that have nothing in common
