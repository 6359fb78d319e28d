"""A tiny base model and a job around it; a hub of models."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.support.huggingface_server import HubServer, Repository
from tests.support.model_folders import write_model
from tests.support.service_fakes import running
from tests.unit.train.runs import MODEL, Job, Link, Trained, write_rows
from train.plan import StopKind


@pytest.fixture(autouse=True, scope="session")
def _looked_up_once() -> Iterator[None]:
    """What short runs spend a tenth of their time on: PEFT compiles the template of its model card for each checkpoint,
    and accelerate reads the metadata of a package each time that it asks whether the package is installed.
    """
    import jinja2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2, "Template", cache(jinja2.Template))
        if packages := sys.modules.get("accelerate.utils.imports"):
            patch.setattr(packages, "_is_package_available", cache(packages._is_package_available))
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of base models with `org/tiny` in it."""
    import train.run  # noqa: F401  torch and TRL: only for tests that need them
    from tests.support.tiny_models import make_tiny_model

    folder = tmp_path_factory.mktemp("models")
    make_tiny_model(folder / "org--tiny")
    return folder


@pytest.fixture
def job(tmp_path: Path, models: Path) -> Job:
    return _new_job(tmp_path, models)


def _new_job(folder: Path, models: Path) -> Job:
    rows, eval_rows = write_rows(folder / "rows.arrow", 16), write_rows(folder / "eval.arrow", 4, offset=3)
    return Job(folder / "job", models, rows, eval_rows)


@pytest.fixture(scope="module")
def train_once(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Train a job like `job` with a config, once for all tests of a module; `pause_at` is the step to pause it at."""
    trained: dict[str, Trained] = {}

    def get(*, pause_at: int | None = None, **config: Any) -> Trained:
        key = json.dumps([pause_at, config], sort_keys=True)
        if key not in trained:
            job = _new_job(tmp_path_factory.mktemp("once"), models)
            link = Link(stop_at={} if pause_at is None else {pause_at: StopKind.PAUSE})
            trained[key] = Trained(job, link, job.train(link, **config))
        return trained[key]

    return get


@pytest.fixture
def row_numbers(models: Path) -> Callable[[dict[int, list[Any]]], dict[int, list[int]]]:
    """Which rows were trained on in each step, by the number in their text; `record_rows` notes the rows."""
    from train.model.base_model import find_model
    from train.model.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(find_model(MODEL, models))

    def read(rows: dict[int, list[Any]]) -> dict[int, list[int]]:
        texts = {step: "".join(tokenizer.batch_decode(list(chain(*passes)))) for step, passes in rows.items()}
        return {step: [int(number) for number in re.findall(r"Answer (\d+)", text)] for step, text in texts.items()}

    return read


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with the model `org/name`, and an empty cache for what is fetched."""
    server = HubServer()
    server.repositories["org/name"] = Repository(write_model(tmp_path / "repository", num_shards=2))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with running(server.app) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield server
