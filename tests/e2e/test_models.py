"""Base models and adapters of the hub: what is refused at the submit, and adapters that jobs start from."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from ftlab import Client, InvalidRequestError, NotFoundError, PermissionDeniedError
from ftlab.schemas import Dataset
from tests.support.huggingface_server import HubServer, Repository
from tests.support.lab import Lab, tiny_job
from tests.support.model_folders import write_model


def test_what_cannot_be_trained_is_refused_at_the_submit(
    client: Client, dataset: Dataset, model_hub: HubServer, far: Repository, tmp_path
):
    model_hub.repositories["acme/gated"] = Repository(far.folder, gated="auto")
    model_hub.repositories["acme/vision"] = Repository(write_model(tmp_path / "vision", config={"model_type": "vit"}))
    for name, error in (
        ("acme/gated", PermissionDeniedError),
        ("acme/none", NotFoundError),
        ("acme/vision", InvalidRequestError),
    ):
        for ask in (client.models.check, lambda ref: client.jobs.create(tiny_job(dataset, model=ref))):
            with pytest.raises(error) as caught:
                ask(name)
            assert caught.value.param == "model"


def plain_adapter(base: Path, folder: Path, name: str) -> Path:
    """A LoRA adapter of rank 3 as PEFT saves it, which names its base model `name`."""
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=6, target_modules=["q_proj", "v_proj"]),
    )
    adapted.peft_config["default"].base_model_name_or_path = name
    adapted.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_adapters_from_a_folder_and_from_the_hub_start_jobs(
    lab: Lab, client: Client, dataset: Dataset, model_hub: HubServer, far: Repository, tmp_path
):
    folder = plain_adapter(far.folder, lab.settings.home / "models" / "mine", "acme/tiny")
    model_hub.repositories["acme/adapter"] = adapter = Repository(
        plain_adapter(far.folder, tmp_path / "adapter", "acme/far")
    )
    jobs = [client.jobs.create(tiny_job(dataset, model=ref, max_steps=2)) for ref in (str(folder), "acme/adapter")]
    for job, base in zip(jobs, ("acme/tiny", "acme/far"), strict=True):
        done = client.jobs.wait(job.id, timeout_s=240)
        assert done.resolved_config is not None
        assert (done.resolved_config["lora"]["r"], done.resolved_config["lora"]["lora_alpha"]) == (3, 6)
        model = client.models.get(done.model_id or "")
        assert model.base_model == base
    assert client.jobs.get(jobs[1].id).resolved_config["model"] == f"acme/adapter@{adapter.sha}"
    assert model.base_revision == far.sha
