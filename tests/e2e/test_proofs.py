"""The proofs about what a service delivers and shows."""

import json

import pytest
from transformers import AutoTokenizer, GenerationConfig

from ftlab import Client
from ftlab.schemas import Job
from tests.proofs.material import Material
from tests.proofs.service import all_doors_show_the_same, download_equals_final_eval_loss
from tests.support.lab import TINY, Lab


def test_the_download_is_what_was_measured(client: Client, finished: Job, material: Material):
    finding = download_equals_final_eval_loss(client, finished, material)
    assert finding.holds, finding
    [final] = client.jobs.metrics(finished.id, names=["final_eval_loss"])
    assert (final.step, final.value) == (20, pytest.approx(finished.eval_loss, rel=1e-5, abs=1e-5))
    download = material.folder / "download"
    adapter = json.loads((download / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == TINY
    tokenizer = AutoTokenizer.from_pretrained(download)
    ends = GenerationConfig.from_pretrained(download).eos_token_id
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in ends


def test_every_door_shows_the_same_numbers(client: Client, lab: Lab, finished: Job):
    finding = all_doors_show_the_same(client, finished, lab.settings)
    assert finding.holds, finding
