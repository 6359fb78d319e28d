"""Records the series of short real runs as JSON, for the tests of the analysis.

`python -m tests.unit.train.analytics.record` writes them again. They are the metrics of `train.run` on the tiny model,
as the store would keep them: each step once for each attempt.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from ftlab.schemas import EventKind
from tests.unit.train.runs import CrashError, Job, Link, write_messages, write_pairs, write_rated, write_rows

FOLDER = Path(__file__).with_name("recorded")
KEPT = ("loss", "reward", "grad_norm", "tokens_per_s", "step_time_s", "data_wait_s")
"""Series that are analysed, besides those of the evaluations."""
STEPS: dict[str, Any] = {"max_steps": 60, "eval_steps": 5, "save_steps": 15, "learning_rate": 0.02}
GRPO: dict[str, Any] = {
    "type": "grpo",
    "rewards": [{"type": "length", "min_length": 40, "max_length": 80, "unit": "characters"}],
    "max_length": 64,
    "max_completion_length": 8,
    "num_generations": 4,
}


def record(name: str, job: Job, crashes: tuple[int, ...] = (), **config: Any) -> None:
    """Run the job's attempts, each but the last until it crashes at a step, and write their metrics."""
    points: dict[str, list[list[float]]] = {}
    resumed_from: dict[str, int | None] = {}
    for crash_at in (*crashes, None):
        link = Link(crash_at=crash_at)
        resumed_from[str(job.attempts + 1)] = max(job.recorded_checkpoints, default=None)
        try:
            job.train(link, **config)
        except CrashError:
            assert crash_at is not None
        for series in sorted({series for data in link.told(EventKind.METRICS) for series in data["values"]}):
            if series in KEPT or series.startswith("eval_"):
                values = link.series(series).items()
                points.setdefault(series, []).extend([step, float(f"{v:.6g}"), job.attempts] for step, v in values)
    document = {
        "config": job.plan(**config).config.model_dump(mode="json", exclude_unset=True),
        "resumed_from": resumed_from,
        "points": points,
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(document, separators=(",", ":")) + "\n", "utf-8")


def main() -> None:
    """Record every series, or those that the command line names."""
    from tests.support.tiny_models import make_tiny_model

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_tiny_model(root / "models" / "org--tiny")
        for make in (overfitted, retried, spiked, preferences, rated, rewarded):
            if make.__name__ in (sys.argv[1:] or [make.__name__]):
                folder = root / make.__name__
                folder.mkdir()
                make(folder, root / "models")


def overfitted(folder: Path, models: Path) -> None:
    rows, others = write_rows(folder / "rows.arrow", 4), write_rows(folder / "eval.arrow", 8, offset=40)
    steps = STEPS | {"learning_rate": 0.002}
    record("overfitted", Job(folder / "job", models, rows, others), training=steps, tuning="full")


def retried(folder: Path, models: Path) -> None:
    rows, others = write_rows(folder / "rows.arrow", 16), write_rows(folder / "eval.arrow", 4, offset=3)
    job = Job(folder / "job", models, rows, others)
    record("retried", job, crashes=(20, 38), training=STEPS | {"max_steps": 40, "learning_rate": 0.005})


def spiked(folder: Path, models: Path) -> None:
    """One row in forty is unlike the others, and there is no evaluation."""
    rows = [
        [{"role": "user", "content": "Say yes."}, {"role": "assistant", "content": "Yes." if number else "zqxj" * 9}]
        for number in range(40)
    ]
    job = Job(folder / "job", models, write_messages(folder / "rows.arrow", rows))
    record("spiked", job, training={"max_steps": 80, "per_device_train_batch_size": 1, "learning_rate": 0.005})


def preferences(folder: Path, models: Path) -> None:
    job = Job(folder / "job", models, write_pairs(folder / "a.arrow", 8), write_pairs(folder / "b.arrow", 4, offset=9))
    record("preferences", job, training=STEPS | {"max_steps": 30}, method={"type": "dpo", "max_length": 64})


def rated(folder: Path, models: Path) -> None:
    job = Job(folder / "job", models, write_rated(folder / "a.arrow", 8), write_rated(folder / "b.arrow", 4, offset=9))
    record("rated", job, training=STEPS | {"max_steps": 30}, method={"type": "kto", "max_length": 64})


def rewarded(folder: Path, models: Path) -> None:
    rows, others = write_rows(folder / "rows.arrow", 8), write_rows(folder / "eval.arrow", 3, offset=2)
    steps = STEPS | {"max_steps": 20, "per_device_train_batch_size": 4}
    record("rewarded", Job(folder / "job", models, rows, others), training=steps, method=GRPO)


if __name__ == "__main__":
    main()
