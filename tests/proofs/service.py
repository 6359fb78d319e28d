"""Proofs about what a service delivers and shows: a job is trained in it, and asked for in every way."""

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftlab import Client
from ftlab.schemas import Job
from ftlab.settings import Settings
from tests.proofs.material import TOLERANCE, Finding, Material
from tests.support.rows import encode, read_rows
from tracking.mlflow_record.metric_names import metric_key
from tracking.store import Store

MLFLOW_TIMEOUT_S = 120.0
Series = dict[str, dict[int, float]]
"""Values by name and step."""


def train_in_service(client: Client, material: Material, model: str, **training: Any) -> Job:
    """Upload the rows and run a job with evaluations to its end; `model` is what the service calls the model.

    `training` holds settings that differ from those of the other proofs.
    """
    train, evaluation = (client.datasets.upload(file) for file in (material.train_file, material.eval_file))
    config = material.config(**{"eval_steps": 2} | training) | {
        "name": "proof",
        "model": model,
        "dataset": train.id,
        "eval_dataset": evaluation.id,
    }
    return client.jobs.wait(client.jobs.create(config).id)


def download_equals_final_eval_loss(client: Client, job: Job, material: Material) -> Finding:
    """Load the download as its user does, and compute the mean loss of the eval rows one by one."""
    folder = material.folder / "download"
    client.jobs.download_model(job.id, folder.with_suffix(".zip"))
    with zipfile.ZipFile(folder.with_suffix(".zip")) as archive:
        archive.extractall(folder)
    [point] = client.jobs.metrics(job.id, ["final_eval_loss"])
    loss = mean_loss(material.model, folder, material.eval_rows, material.max_length)
    return Finding(
        "The downloaded model has the eval loss that the job reports.",
        abs(loss - point.value) / max(1.0, abs(point.value)),
        TOLERANCE,
        f"final_eval_loss {point.value:.7f} in the record, {loss:.7f} from the download",
    )


def mean_loss(model_folder: Path, adapter: Path, rows: Path, max_length: int) -> float:
    """The mean loss over the trained tokens of the canonical `rows`, for an adapter on its base model."""
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype="auto")
    model = PeftModel.from_pretrained(base, adapter).eval()
    total, count = 0.0, 0
    for row in encode(read_rows(rows), tokenizer, max_length=max_length, assistant_only_loss=True):
        if row.labels is None:
            continue
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1].float()
        wanted = torch.tensor(row.labels[1:])
        total += torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum").item()
        count += int((wanted != -100).sum())
    return total / count


def all_doors_show_the_same(client: Client, job: Job, settings: Settings) -> Finding:
    """The metrics of a job in the database, over HTTP, from the command line and in MLflow."""
    store = Store.open(settings.store_url)
    try:
        with store.read() as tx:
            kept = _series((point.name, point.step, point.value) for point in tx.metrics.series(job.id))
    finally:
        store.close()
    http = _series((point.name, point.step, point.value) for point in client.jobs.metrics(job.id))
    shown = {"HTTP": http, "the CLI": _from_cli(job, settings), "MLflow": _from_mlflow(client, job, settings, kept)}
    differing = [
        f"{door} has {name} {found.get(name)} instead of {values}"
        for door, found in shown.items()
        for name, values in kept.items()
        if found.get(name) != values
    ]
    num_points = sum(map(len, kept.values()))
    return Finding(
        "MLflow, the database, HTTP and the CLI show the same numbers.",
        float(len(differing)),
        0.0,
        "; ".join(differing) or f"{num_points} points of {len(kept)} metrics, to the last digit",
    )


def _series(points: Any) -> Series:
    series: Series = {}
    for name, step, value in points:
        series.setdefault(name, {})[step] = value
    return series


def _from_cli(job: Job, settings: Settings) -> Series:
    command = [sys.executable, "-m", "ftlab.cli.main", "metrics", job.id, "--json", "--server", settings.server_url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return _series((point["name"], point["step"], point["value"]) for point in json.loads(done.stdout))


def _from_mlflow(client: Client, job: Job, settings: Settings, kept: Series) -> Series:
    """Everything that MLflow has of the metrics in `kept`, once the run has ended there."""
    deadline = time.monotonic() + MLFLOW_TIMEOUT_S
    run_id = client.jobs.get(job.id).mlflow_run_id
    while _mlflow(settings, "runs/get", run_id=run_id)["run"]["info"]["status"] == "RUNNING":
        assert time.monotonic() < deadline, "The run does not end in MLflow."
        time.sleep(0.5)
    return {
        name: {point["step"]: point["value"] for point in _history(settings, run_id, metric_key(name))} for name in kept
    }


def _history(settings: Settings, run_id: str | None, key: str) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = _mlflow(settings, "metrics/get-history", run_id=run_id, metric_key=key)["metrics"]
    return points


def _mlflow(settings: Settings, path: str, **query: Any) -> Any:
    url = f"{settings.mlflow_url}/api/2.0/mlflow/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=30) as reply:
        return json.load(reply)
