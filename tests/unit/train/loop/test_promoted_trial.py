"""A trial that successive halving pauses at its rungs and promotes equals, bit for bit, one that never stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ftlab.schemas.job_file import parse_job_config
from ftlab.schemas.sweep_rules import check_sweep
from ftlab.schemas.sweeps import SweepConfig
from tests.unit.train.runs import MODEL, TRAINING, Job, Link, write_rows
from tests.unit.train.traces import Rows, Trace, assert_equal, attempt, record_rows
from train.plan import StopKind

LAST = 13
SWEEP = SweepConfig.model_validate(
    {
        "job": {
            "model": MODEL,
            "dataset": "ds-1",
            "eval_dataset": "ds-eval",
            "method": {"type": "sft", "max_length": 64},
            "lora": {"lora_alpha": 8, "lora_dropout": 0.3},
            "training": TRAINING | {"max_steps": LAST, "eval_steps": 2, "gradient_accumulation_steps": 2},
        },
        "parameters": {"training.learning_rate": [0.003, 0.02], "lora.r": [4, 8]},
        "method": {"type": "successive_halving", "min_steps": 2, "reduction_factor": 2},
    }
)
PAUSES = {2: 2, 4: 5, 8: 10}
"""By rung, the step after which it pauses: at the rung, between two evaluations, and where the next one is due."""
VALUES = {"training.learning_rate": 0.02, "lora.r": 4}


@dataclass
class RungLink(Link):
    """Asks for a pause as the coordinator does: after it has read the value of the rung, some steps late."""

    rung: int = 0
    pause: int = 0

    def stop_requested(self) -> StopKind | None:
        is_seen = self.rung in self.series("eval_loss") and self.step >= self.pause
        return StopKind.PAUSE if is_seen else None


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    return record_rows(monkeypatch.setattr)


@pytest.fixture(scope="module")
def new_job(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Job]:
    folder = tmp_path_factory.mktemp("rungs")
    data, eval_data = write_rows(folder / "rows.arrow", 11), write_rows(folder / "eval.arrow", 4, offset=3)
    return lambda: Job(folder / f"job-{len(list(folder.glob('job-*')))}", models, data, eval_data)


def test_a_promoted_trial_equals_one_that_never_stopped(
    new_job: Callable[[], Job], rows: Rows, whole: Callable[..., Trace]
):
    document = SWEEP.trial_document(VALUES)
    assert parse_job_config(document, "Trial 0").training.max_steps == LAST  # the schedule of all steps
    assert check_sweep(SWEEP).rungs == tuple(PAUSES)
    trial = Trace(new_job())
    for rung, pause in PAUSES.items():
        link = attempt(trial, rows, RungLink(rung=rung, pause=pause), **document)
        assert max(trial.rows) == pause
    link = attempt(trial, rows, **document)
    assert_equal(trial, whole(**document))
    assert link.receipt()["why_not"] == []
    assert trial.series()["eval_loss"].keys() == {0, 2, 4, 6, 8, 10, 12, LAST}
