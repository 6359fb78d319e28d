"""Exports of the tiny model, without Ray."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from ftlab.errors import FineTuneLabError, InvalidRequestError
from ftlab.manifest import MANIFEST, read_manifest
from ftlab.schemas import EventKind, ExportConfig
from ftlab.schemas.export_results import CARD_FILE, RECEIPT_FILE, Receipt
from ftlab.status import ReasonCode, StopKind
from tests.unit.train.runs import Link
from train.checkpoints.checkpoint_files import verify
from train.export import run as export_run
from train.export.merged_model import MergedFormat
from train.export.run import run
from train.failures.classify import classify
from train.plan import Beat, Ending, ExportPlan

MERGED = "merged"


def changed(plan: ExportPlan, **config: Any) -> ExportPlan:
    return replace(plan, config=ExportConfig.model_validate(plan.config.model_dump() | config))


def receipt_of(plan: ExportPlan, name: str) -> Receipt:
    return Receipt.model_validate_json((plan.artifacts_folder / name / RECEIPT_FILE).read_bytes())


@torch.inference_mode()
def answers(model: Any, folder: Path) -> torch.Tensor:
    text = "<|im_start|>user\nWhat is a queue?<|im_end|>\n"
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    return model.eval()(**tokens).logits


def test_the_merged_model_answers_like_the_adapter(plan: ExportPlan, base: Path):
    link = Link()
    assert run(plan, link).ending is Ending.FINISHED
    folder = plan.artifacts_folder / MERGED
    manifest = verify(folder)
    assert (manifest.job_id, manifest.step) == ("job-2", 20)
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), plan.model)
    merged = answers(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), folder)
    assert torch.allclose(merged, answers(tuned, base), atol=1e-4)
    untuned = answers(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), base)
    assert not torch.allclose(merged, untuned, atol=0.1)
    receipt = receipt_of(plan, MERGED)
    assert (receipt.is_good, receipt.top1_agreement, receipt.weight_type) == (True, 1.0, "f32")
    assert 0 <= receipt.max_difference <= receipt.bound == 2e-3 * receipt.spread
    assert receipt.num_tokens > 20
    assert link.told(EventKind.PROGRESS)[-1]["step"] == link.told(EventKind.PROGRESS)[-1]["total_steps"]


def test_the_adapter_is_exported_alone(plan: ExportPlan, base: Path):
    plan = replace(changed(plan, formats=["adapter"]), facts=replace(plan.facts, quantised_by="load_in_4bit"))
    run(plan, Link())
    folder = plan.artifacts_folder / "adapter"
    receipt = receipt_of(plan, "adapter")
    assert (receipt.is_good, receipt.max_difference, receipt.weight_type) == (True, 0.0, "f32")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/tiny", None)
    assert (
        load_file(folder / "adapter_model.safetensors").keys()
        == load_file(Path(plan.model) / "adapter_model.safetensors").keys()
    )
    card = (folder / "README.md").read_text()
    turn_end = AutoTokenizer.from_pretrained(base).convert_tokens_to_ids("<|im_end|>")
    assert turn_end in GenerationConfig.from_pretrained(folder).eos_token_id
    assert "GenerationConfig.from_pretrained" in card
    assert "--generation-config ." in card
    assert "measured on rounded base weights (`load_in_4bit`)" in card
    assert card.startswith("---\nbase_model: org/tiny\nlibrary_name: peft\n")
    assert "tags:\n- finetune-lab\n- sft\n- lora\n" in card
    with pytest.raises(InvalidRequestError, match="trained as a whole"):
        run(replace(plan, job_folder=plan.job_folder / "whole", model=str(base), local_base=None), Link())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounded_weights_are_within_the_bound_of_their_type(plan: ExportPlan, dtype: str):
    plan = changed(plan, dtype=dtype)
    run(plan, Link())
    folder = plan.artifacts_folder / f"merged-{dtype}"
    assert {str(weight.dtype) for weight in load_file(folder / "model.safetensors").values()} == {f"torch.{dtype}"}
    assert json.loads((folder / "config.json").read_text())["dtype"] == dtype
    receipt = receipt_of(plan, f"merged-{dtype}")
    assert 0 < receipt.max_difference <= receipt.bound


def test_a_whole_model_is_exported_without_an_adapter(plan: ExportPlan, base: Path):
    run(replace(plan, model=str(base), local_base=None), Link())
    original = load_file(base / "model.safetensors")
    written = load_file(plan.artifacts_folder / MERGED / "model.safetensors")
    assert written.keys() == original.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in original.items())
    assert receipt_of(plan, MERGED).max_difference == 0


def flip_a_bit(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 0x40  # a high bit of the exponent of a float32 whose last byte this is
    file.write_bytes(content)


def test_an_export_with_a_spoilt_weight_is_refused(plan: ExportPlan, monkeypatch: pytest.MonkeyPatch):
    write = MergedFormat.write

    def spoil(self: MergedFormat, folder: Path, after_tensor: Any) -> Any:
        hashes = write(self, folder, after_tensor)
        flip_a_bit(folder / "model.safetensors", -1)
        return hashes

    monkeypatch.setattr(MergedFormat, "write", spoil)
    with pytest.raises(FineTuneLabError, match="a logit differs by") as caught:
        run(plan, Link())
    assert classify(caught.value, plan.job_folder).reason is ReasonCode.EXPORT_DIFFERS
    assert list(plan.artifacts_folder.iterdir()) == []


def test_a_weight_that_changes_after_the_comparison_is_refused(plan: ExportPlan, monkeypatch: pytest.MonkeyPatch):
    compare = export_run.difference_from

    def spoil(*args: Any) -> Any:
        found = compare(*args)
        flip_a_bit(plan.artifacts_folder / f".tmp-1-{MERGED}" / "model.safetensors", -4)  # the least bits of a weight
        return found

    monkeypatch.setattr(export_run, "difference_from", spoil)
    with pytest.raises(FineTuneLabError, match=r"model\.safetensors changed on the disk after it was written"):
        run(plan, Link())
    assert list(plan.artifacts_folder.iterdir()) == []


def test_a_tokenizer_that_makes_other_tokens_is_refused(plan: ExportPlan, monkeypatch: pytest.MonkeyPatch):
    write = MergedFormat.write

    def spoil(self: MergedFormat, folder: Path, after_tensor: Any) -> Any:
        hashes = write(self, folder, after_tensor)
        template = folder / "chat_template.jinja"
        template.write_text(template.read_text().replace("assistant", "user"))
        return hashes

    monkeypatch.setattr(MergedFormat, "write", spoil)
    with pytest.raises(FineTuneLabError, match="its tokenizer makes other tokens"):
        run(plan, Link())


def test_a_stopped_export_keeps_what_is_complete(plan: ExportPlan):
    run(plan, Link())
    first = read_manifest(plan.artifacts_folder / MERGED)
    both = changed(plan, dtype="bfloat16")
    outcome = run(both, Link(stop_at={0: StopKind.PAUSE}))
    assert (outcome.ending, outcome.stop) == (Ending.STOPPED, StopKind.PAUSE)
    assert [path.name for path in plan.artifacts_folder.iterdir()] == [MERGED]
    assert run(replace(plan, attempt=2), Link()).ending is Ending.FINISHED
    assert read_manifest(plan.artifacts_folder / MERGED) == first
    flip_a_bit(plan.artifacts_folder / MERGED / "model.safetensors", -1)
    run(replace(plan, attempt=3), Link())
    assert read_manifest(plan.artifacts_folder / MERGED).attempt == 3


@pytest.mark.parametrize("name", [CARD_FILE, RECEIPT_FILE, MANIFEST])
def test_a_full_disk_leaves_no_half_of_an_artifact(plan: ExportPlan, name: str):
    class FullDisk(Link):
        """Once something is written, the file `name` lies on a device that is always full."""

        def beat(self, beat: Beat) -> None:
            super().beat(beat)
            for folder in plan.artifacts_folder.glob(".tmp-*"):
                if not (folder / name).exists():
                    (folder / name).symlink_to("/dev/full")

    with pytest.raises(Exception, match=r"disk .* is full") as caught:
        run(changed(plan, formats=["adapter"]), FullDisk())
    assert classify(caught.value, plan.job_folder).reason is ReasonCode.DISK_FULL
    assert list(plan.artifacts_folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(plan: ExportPlan, monkeypatch: pytest.MonkeyPatch):
    mkdir = Path.mkdir

    def refuse(folder: Path, *options: Any, **named: Any) -> None:
        if plan.artifacts_folder in (folder, folder.parent):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))
        mkdir(folder, *options, **named)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match="Read-only") as caught:
        run(changed(plan, formats=["adapter"]), Link())
    failure = classify(caught.value, plan.job_folder)
    assert failure.reason is ReasonCode.STORAGE_ERROR
    assert str(plan.artifacts_folder) in failure.message
