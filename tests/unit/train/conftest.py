"""A tiny base model and a job around it."""

import gc
from pathlib import Path

import pytest

from tests.unit.train.runs import Job, write_rows


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of base models with `org/tiny` in it."""
    import train.run  # noqa: F401  torch and TRL: only for tests that need them
    from tests.tiny import make_tiny_model

    # Every run collects garbage twice; what the imports left is none.
    gc.collect()
    gc.freeze()
    folder = tmp_path_factory.mktemp("models")
    make_tiny_model(folder / "org--tiny")
    return folder


@pytest.fixture
def job(tmp_path: Path, models: Path) -> Job:
    rows, eval_rows = write_rows(tmp_path / "rows.jsonl", 16), write_rows(tmp_path / "eval.jsonl", 4, offset=3)
    return Job(tmp_path / "job", models, rows, eval_rows)
