"""Engines of the tiny model, driven step by step, and adapters of every kind."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from train.inference.answers import Piece
    from train.inference.engine import Engine


@dataclass
class Heard:
    """The pieces of one answer."""

    pieces: "list[Piece]" = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def finish(self) -> str | None:
        return self.pieces[-1].finish if self.pieces else None


@pytest.fixture(scope="session")
def base_folder(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose greedy answers do not repeat one token."""
    from tests.support.tiny_models import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("chat") / "org--talks", scale=4.0, seed=3, tied=False)


@pytest.fixture(scope="session")
def adapters(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from tests.support.tiny_adapters import make_tiny_adapter

    folder = tmp_path_factory.mktemp("adapters")
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "rslora": {"use_rslora": True, "r": 2},
        "attention": {"target_modules": ["q_proj", "v_proj"]},
        "dora": {"use_dora": True},
        "with_head": {"modules_to_save": ["lm_head"], "target_modules": ["q_proj", "v_proj"]},
    }
    return {
        kind: make_tiny_adapter(base_folder, folder / kind, seed=number, **settings)
        for number, (kind, settings) in enumerate(kinds.items(), 1)
    }


@pytest.fixture
def make_engine(base_folder: Path) -> "Callable[[], Engine]":
    from ftlab.schemas import JobConfig
    from train.inference.engine import Engine
    from train.inference.language_model import LanguageModel
    from train.model.base_model import BaseModel
    from train.model.load import load_engine_model

    def make() -> Engine:
        base = BaseModel("org/talks", base_folder, "local-1")
        config = JobConfig(model="org/talks", dataset="none")
        return Engine(LanguageModel(load_engine_model(base, config, use_cuda=False)), base, 2048)

    return make


def run_all(engine: "Engine") -> None:
    while engine.step():
        pass
