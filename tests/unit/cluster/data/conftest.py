"""A home with a tiny base model for the data worker, and what its doctor reads."""

from pathlib import Path
from typing import Any

import pytest

from ftlab.schemas.checks import CheckReport
from train.data import doctor


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny_models import make_tiny_model

    folder = tmp_path_factory.mktemp("home") / "models"
    make_tiny_model(folder / "org--tiny")
    return folder


@pytest.fixture
def home(models: Path, tmp_path: Path) -> Path:
    (tmp_path / "models").symlink_to(models)
    return tmp_path


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that the doctor reads by itself."""
    read: list[Path] = []
    original = doctor.examine

    def counting(rows: Path, *arguments: Any, **options: Any) -> CheckReport:
        read.append(rows)
        return original(rows, *arguments, **options)

    monkeypatch.setattr(doctor, "examine", counting)
    return read
