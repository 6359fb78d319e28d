"""Uploads of a job's files to its MLflow run."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ftlab.manifest import MANIFEST, read_manifest
from ftlab.schemas.evaluation_results import RESULTS_FILE, RESULTS_FOLDER, ROWS_FILE
from ftlab.schemas.events import parse_payload
from ftlab.schemas.failure_text import failure_markdown
from ftlab.schemas.failures import FailureAnalysis
from ftlab.schemas.sample_prompts import answers_by_prompt
from tracking.mlflow_record.api import MlflowApi
from tracking.store.records import EventRecord


def upload_sample(api: MlflowApi, run_id: str, event: EventRecord) -> None:
    """Upload a sample event as `samples/<seq>.json`."""
    text = json.dumps(event.data, indent=1, ensure_ascii=False)
    api.upload_text(run_id, text, f"samples/{event.seq:08d}.json")


def upload_sample_table(api: MlflowApi, run_id: str, events: Sequence[EventRecord]) -> None:
    """Upload all answers of a job as `samples.csv`, which MLflow shows as a table: one row per prompt, one column per
    step.
    """
    answers = answers_by_prompt(parse_payload(event.kind, event.data) for event in events)
    steps = sorted({step for by_step in answers.values() for step in by_step})
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["prompt", *(f"step {step}" for step in steps)])
    for by_step in answers.values():
        prompt = next(iter(by_step.values())).prompt
        writer.writerow([prompt, *(by_step[step].text if step in by_step else "" for step in steps)])
    api.upload_text(run_id, table.getvalue(), "samples.csv")


def upload_failure(api: MlflowApi, run_id: str, analysis: FailureAnalysis) -> None:
    """Upload the analysis of the newest failure as `failure.json` and `failure.md`."""
    api.upload_text(run_id, analysis.model_dump_json(indent=1), "failure.json")
    api.upload_text(run_id, failure_markdown(analysis), "failure.md")


def upload_config(api: MlflowApi, run_id: str, config: dict[str, Any]) -> None:
    """Upload the job's config as `config/job.yaml`, which can be submitted again."""
    api.upload_text(run_id, yaml.safe_dump(config, sort_keys=False, allow_unicode=True), "config/job.yaml")


def upload_logs(api: MlflowApi, run_id: str, job_folder: Path) -> None:
    """Upload the log of each attempt, and the stacks of attempts that hung."""
    for pattern in ("attempt-*.jsonl", "attempt-*-stacks.txt"):
        for file in sorted((job_folder / "logs").glob(pattern)):
            api.upload(run_id, file, "logs")


def upload_results(api: MlflowApi, run_id: str, job_folder: Path) -> None:
    """Upload the results of an evaluation, and its rows. Raises `FileNotFoundError` when one is missing."""
    for name in (RESULTS_FILE, ROWS_FILE):
        api.upload(run_id, job_folder / RESULTS_FOLDER / name, RESULTS_FOLDER)


def upload_model(api: MlflowApi, run_id: str, folder: Path) -> None:
    """Upload the manifest of a model and the files it lists, below the name of the model's folder.

    Raises `FileNotFoundError` when one is missing and `ValueError` for a manifest that cannot be read.
    """
    for name in (*read_manifest(folder).files, MANIFEST):
        target = PurePosixPath(folder.name, name).parent
        api.upload(run_id, folder / name, str(target))
