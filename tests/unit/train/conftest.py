"""A tiny base model and a job around it."""

import os
from pathlib import Path

import pytest

from tests.unit.train.runs import Job, write_rows

# Nothing here may reach for the hub.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of base models with `org/tiny` in it."""
    from tests.tiny import make_tiny_model  # torch: only for tests that need it

    folder = tmp_path_factory.mktemp("models")
    make_tiny_model(folder / "org--tiny")
    return folder


@pytest.fixture
def job(tmp_path: Path, models: Path) -> Job:
    rows, eval_rows = write_rows(tmp_path / "rows.jsonl", 16), write_rows(tmp_path / "eval.jsonl", 4, offset=3)
    return Job(tmp_path / "job", models, rows, eval_rows)
