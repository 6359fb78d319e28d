"""Two workers that divide the weights train what one worker trains on the rows of both, and share its checkpoints."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.tiny_models import make_tiny_model
from tests.unit.train.ranks import Task, train
from tests.unit.train.runs import Job, Link, write_pairs, write_rows
from train.plan import StopKind

STEPS: dict[str, Any] = {"max_steps": 6, "save_steps": 50, "eval_steps": 2, "gradient_accumulation_steps": 2}
ONE, TWO = STEPS | {"per_device_train_batch_size": 2}, STEPS | {"per_device_train_batch_size": 1}
FULL: dict[str, Any] = {"tuning": "full"}
SLOWLY = {"learning_rate": 0.003}
SHARDED = {"resources": {"sharding": "fsdp"}}
NOTICE = (
    "On a CPU: mixed precision none, optimizer adamw_torch, attention sdpa. The weights are divided among the 2 "
    "workers (fsdp)."
)

WITH_NORM = {"r": 4, "lora_alpha": 8, "modules_to_save": ["model.norm"]}


@pytest.fixture
def jobs(tmp_path: Path, models: Path) -> list[Job]:
    """Jobs that are alike. Of the 3 rows to evaluate on, the second worker gets none."""
    rows, eval_rows = write_rows(tmp_path / "rows.arrow", 16), write_rows(tmp_path / "eval.arrow", 3, offset=3)
    return [Job(tmp_path / f"job-{number}", models, rows, eval_rows) for number in range(10)]


def task(job: Job, stop: int | None = None, training: dict[str, Any] | None = None, **config: Any) -> Task:
    stop_at = {} if stop is None else {stop: StopKind.PAUSE}
    return Task(job, stop_at, {"training": TWO | (training or {})} | SHARDED | config)


def series(links: Iterable[Link], name: str) -> dict[int, float]:
    return {step: value for link in links for step, value in link.series(name).items()}


def assert_same(links: Iterable[Link], expected: Link, tolerance: float = 1e-5) -> None:
    links = list(links)
    for name in ("loss", "grad_norm", "eval_loss"):
        assert series(links, name) == pytest.approx(expected.series(name), rel=tolerance, abs=tolerance), name


def weights(job: Job) -> dict[str, torch.Tensor]:
    [file] = (job.folder / "model").glob("*.safetensors")
    return load_file(file)


def test_two_workers_that_divide_the_weights(jobs: list[Job], tmp_path: Path) -> None:
    """An adapter, and all weights: without a stop, and paused and resumed by two workers and by one.

    The model of the jobs that train all weights has an output layer of its own. Of the 11 rows of an adapter's epoch,
    the second worker has none for the last pass.
    """
    adapter, one_adapter, whole, one_whole, resumed, moved, *_ = jobs
    adapter.rows = one_adapter.rows = write_rows(tmp_path / "uneven.arrow", 11)
    make_tiny_model(tmp_path / "models" / "org--tiny", tied=False)
    for each in (whole, one_whole, resumed, moved):
        each.models = tmp_path / "models"
    full = FULL | {"training": SLOWLY}
    tasks = [
        task(adapter),
        task(whole, **full),
        task(resumed, 3, **full),
        task(resumed, **full),
        task(moved, 3, **full),
    ]
    trained = [each.link for each in train(tmp_path / "ranks", tasks, workers=2)]
    alone, alone_full, last = Link(), Link(), Link()
    one_adapter.train(alone, training=ONE)
    one_whole.train(alone_full, training=ONE | SLOWLY, **FULL)
    moved.train(last, training=ONE | SLOWLY, **FULL)

    assert_same(trained[:1], alone)
    assert_same(trained[1:2], alone_full)
    assert_same([trained[4], last], alone_full)
    assert series(trained[2:4], "loss") == trained[1].series("loss"), "bit for bit"
    assert trained[3].receipt()["why_not"] == []
    assert last.receipt()["why_not"] == [
        "resources.num_workers changed from 2 to 1",
        "resources.sharding changed from fsdp to none",
        "training.per_device_train_batch_size changed from 1 to 2",
        "the remaining random numbers are different",
    ]
    assert trained[0].notices("device_settings") == [NOTICE]
    assert alone.notices("device_settings") == []
    for two, one in ((adapter, one_adapter), (whole, one_whole)):
        assert two.delivered == one.delivered
        found, expected = weights(two), weights(one)
        assert {name: weight.shape for name, weight in found.items()} == {
            name: weight.shape for name, weight in expected.items()
        }
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "tolerance"),
    [
        ({**FULL, "training": SLOWLY | {"gradient_checkpointing": True}}, 1e-5),
        ({**FULL, "training": SLOWLY, "method": {"max_length": 64, "label_smoothing_factor": 0.1}}, 1e-5),
        ({"lora": WITH_NORM | {"use_dora": True}}, 1e-5),
        ({"lora": {"r": 4, "lora_alpha": 8, "init_lora_weights": "pissa"}}, 1e-5),
        ({"training": {"optim": "sgd"}}, 1e-5),
        ({**FULL, "training": SLOWLY | {"bf16": True}}, 3e-2),
        ({"training": {"dtype": "bfloat16"}}, 3e-2),
        ({"method": {"type": "dpo", "max_length": 64}}, 1e-5),
        ({"method": {"type": "reward", "max_length": 64}}, 1e-5),
        ({"training": {"dtype": "bfloat16"}, "lora": WITH_NORM}, 3e-2),
        ({"training": {"dtype": "bfloat16"}, "method": {"type": "reward", "max_length": 64}}, 3e-2),
    ],
    ids=[
        *("recomputed", "smoothing", "dora", "pissa", "sgd", "bf16", "bfloat16", "dpo", "reward"),
        *("whole module beside bfloat16", "reward beside bfloat16"),
    ],
)
def test_other_jobs_with_divided_weights(
    jobs: list[Job], tmp_path: Path, config: dict[str, Any], tolerance: float
) -> None:
    """Paused with one worker, resumed with two. Of the 11 pairs, the second worker has none for the last pass."""
    alone, first = Link(), Link(stop_at={3: StopKind.PAUSE})
    training = config.get("training", {})
    config = {name: value for name, value in config.items() if name != "training"}
    if config.get("method", {}).get("type") in ("dpo", "reward"):
        rows, eval_rows = write_pairs(tmp_path / "pairs.arrow", 11), write_pairs(tmp_path / "eval-pairs.arrow", 3)
        for each in jobs:
            each.rows, each.eval_rows = rows, eval_rows
    one, moved, whole = jobs[:3]
    one.train(alone, training=ONE | training, **config)
    moved.train(first, training=ONE | training, **config)
    tasks = [task(each, training=training, **config) for each in (moved, whole)]
    last, divided = (each.link for each in train(tmp_path / "ranks", tasks, workers=2))
    assert_same([first, last], alone, tolerance)
    assert_same([divided], alone, tolerance)
