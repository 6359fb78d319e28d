"""Uploads of a job's files to its MLflow run."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tracking.mlflow_record.api import MlflowApi
from tracking.store.records import EventRecord

MANIFEST = "manifest.json"


def upload_sample(api: MlflowApi, run_id: str, event: EventRecord) -> None:
    """Upload a sample event as `samples/<seq>.json`."""
    text = json.dumps(event.data, indent=1, ensure_ascii=False)
    api.upload_text(run_id, text, f"samples/{event.seq:08d}.json")


def upload_config(api: MlflowApi, run_id: str, config: dict[str, Any]) -> None:
    """Upload the job's config as `config/job.yaml`, which can be submitted again."""
    api.upload_text(run_id, yaml.safe_dump(config, sort_keys=False, allow_unicode=True), "config/job.yaml")


def upload_logs(api: MlflowApi, run_id: str, job_folder: Path) -> None:
    """Upload the log of each attempt, and the stacks of attempts that hung."""
    for pattern in ("attempt-*.jsonl", "attempt-*-stacks.txt"):
        for file in sorted((job_folder / "logs").glob(pattern)):
            api.upload(run_id, file, "logs")


def upload_model(api: MlflowApi, run_id: str, folder: Path) -> None:
    """Upload the manifest of a model and the files it lists, below the name of the model's folder.

    Raises `FileNotFoundError` when one is missing and `ValueError` when the manifest is invalid.
    """
    for name in (*_listed_files(folder / MANIFEST), MANIFEST):
        target = PurePosixPath(folder.name, name).parent
        api.upload(run_id, folder / name, str(target))


def _listed_files(manifest: Path) -> list[str]:
    content = json.loads(manifest.read_bytes())
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict):
        raise ValueError(f"{manifest} lists no files")
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{manifest} names a file outside its folder")
    return list(files)
