"""A run that is stopped and goes on computes every bit as one that was never interrupted."""

import json
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.unit.train.ranks import UNEVEN, Task, train, two_and_one
from tests.unit.train.runs import CrashError, Job, Link, write_pairs, write_rated, write_rows
from tests.unit.train.traces import Rows, Trace, assert_equal, attempt, record_rows
from train.plan import Phase, StopKind

LAST = 13
PLAIN: dict[str, Any] = {"max_steps": LAST, "save_steps": 4}
SHORT_EPOCHS = PLAIN | {"gradient_accumulation_steps": 2}
"""11 rows, 2 a pass, 2 passes a step: 3 steps an epoch, the last one of 3 rows."""
EVALUATED = SHORT_EPOCHS | {"logging_steps": 4, "eval_steps": 3}
"""Step 12 is logged, evaluated and saved."""
DROPOUT: dict[str, Any] = {"lora": {"r": 4, "lora_alpha": 8, "lora_dropout": 0.3}}

EIGHT_BIT: dict[str, Any] = {"optim": "adamw_8bit", "learning_rate": 0.003}
NOISE: dict[str, Any] = {"eval_steps": 3, "neftune_noise_alpha": 5.0}
PACKING = {"type": "sft", "max_length": 48, "packing": True, "label_smoothing_factor": 0.1}

NewJob = Callable[[], Job]


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    """What the attempt that goes on, or the last one, trains on."""
    return record_rows(monkeypatch.setattr)


@pytest.fixture(scope="module")
def new_job(models: Path, tmp_path_factory: pytest.TempPathFactory) -> NewJob:
    """Jobs that are alike; their model drops attention weights in training."""
    folder = tmp_path_factory.mktemp("exactness")
    model = Path(shutil.copytree(models / "org--tiny", folder / "org--dropping"))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.2}))
    data, eval_data = write_rows(folder / "rows.arrow", 11), write_rows(folder / "eval.arrow", 4, offset=3)
    numbers = count()
    return lambda: Job(folder / f"job-{next(numbers)}", folder, data, eval_data, model="org/dropping")


CASES = [
    pytest.param(3, {"training": PLAIN}, id="in the middle of an epoch"),
    pytest.param(2, {"training": SHORT_EPOCHS} | DROPOUT, id="accumulation and dropout, mid"),
    pytest.param(3, {"training": SHORT_EPOCHS} | DROPOUT, id="accumulation and dropout, end of epoch"),
    pytest.param(5, {"training": SHORT_EPOCHS} | DROPOUT, id="accumulation and dropout, later epoch"),
    pytest.param(6, {"training": EVALUATED} | DROPOUT, id="eval due"),
    pytest.param(7, {"training": EVALUATED} | DROPOUT, id="between logged"),
    pytest.param(12, {"training": EVALUATED} | DROPOUT, id="all due"),
    pytest.param(13, {"training": EVALUATED} | DROPOUT, id="last"),
    pytest.param(5, {"tuning": "full", "training": SHORT_EPOCHS | {"learning_rate": 0.003}}, id="full"),
    pytest.param(5, {"training": SHORT_EPOCHS | {"optim": "adafactor"} | NOISE}, id="adafactor, noise"),
    pytest.param(
        5,
        {"training": SHORT_EPOCHS | {"optim": "sgd", "gradient_checkpointing": True}} | DROPOUT,
        id="sgd, checkpointing",
    ),
    pytest.param(5, {"training": SHORT_EPOCHS | {"optim": "adamw_torch_fused"}}, id="fused", marks=pytest.mark.slow),
    pytest.param(5, {"tuning": "full", "training": SHORT_EPOCHS | EIGHT_BIT}, id="8-bit AdamW"),
    pytest.param(5, {"training": SHORT_EPOCHS | {"bf16": True}} | DROPOUT, id="bf16"),
    pytest.param(5, {"training": SHORT_EPOCHS, "method": PACKING} | DROPOUT, id="packing, smoothing"),
]


DPO: dict[str, Any] = {"method": {"type": "dpo", "max_length": 64}}
KTO: dict[str, Any] = {"method": {"type": "kto", "max_length": 64}}
REWARD: dict[str, Any] = {"method": {"type": "reward", "max_length": 64}}
OTHER_METHODS = [
    pytest.param(5, DPO | {"training": SHORT_EPOCHS | {"eval_steps": 3}}, id="dpo"),
    pytest.param(7, DPO | {"tuning": "full", "training": SHORT_EPOCHS | {"learning_rate": 0.003}}, id="dpo, full"),
    pytest.param(5, KTO | {"training": SHORT_EPOCHS | {"eval_steps": 3}}, id="kto"),
    pytest.param(7, KTO | {"tuning": "full", "training": SHORT_EPOCHS | {"learning_rate": 0.003}}, id="kto, full"),
    pytest.param(5, REWARD | {"training": SHORT_EPOCHS | {"logging_steps": 4, "eval_steps": 3}}, id="reward"),
    pytest.param(
        7,
        REWARD | {"tuning": "full", "training": SHORT_EPOCHS | {"learning_rate": 0.003}},
        id="reward, full",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("k", "config"), OTHER_METHODS)
def test_other_methods_stop_and_go_on(new_job: NewJob, rows: Rows, tmp_path: Path, k: int, config: dict[str, Any]):
    write = write_rated if config["method"]["type"] == "kto" else write_pairs
    data, eval_data = write(tmp_path / "rows.arrow", 11), write(tmp_path / "eval.arrow", 4, offset=3)
    traces = []
    for stops in ([None], [k, None]):
        trace = Trace(new_job())
        trace.job.rows, trace.job.eval_rows = data, eval_data
        for stop in stops:
            link = attempt(trace, rows, Link(stop_at={stop: StopKind.PAUSE} if stop else {}), **config)
        traces.append(trace)
    whole, trace = traces
    assert_equal(trace, whole)
    assert {"eval_rewards/margins", "eval_margin"} & trace.series().keys()
    assert link.receipt()["why_not"] == []


@pytest.mark.parametrize(("k", "config"), CASES)
def test_stop_and_go_on(new_job: NewJob, rows: Rows, whole: Callable[..., Trace], k: int, config: dict[str, Any]):
    trace = Trace(new_job())
    attempt(trace, rows, Link(stop_at={k: StopKind.PAUSE}), **config)
    assert max(trace.rows) == k
    link = attempt(trace, rows, **config)
    assert_equal(trace, whole(**config))
    assert link.receipt()["why_not"] == []


def test_steps_that_are_repeated_after_a_crash_are_the_same(new_job: NewJob, rows: Rows, whole: Callable[..., Trace]):
    """The process dies in step 7 and again in step 10; the only checkpoints are those of steps 4 and 8."""
    config = {"training": SHORT_EPOCHS | {"eval_steps": 3, "load_best_model_at_end": False}} | DROPOUT
    trace, repeated = Trace(new_job()), Trace(new_job())
    for step in (7, 10):
        with pytest.raises(CrashError):
            attempt(trace, rows, Link(crash_at=step), **config)
    attempt(trace, rows, **config)
    assert_equal(trace, whole(**config))
    first, second, third = (link.series("loss") for link in trace.links)
    assert [min(series) for series in (first, second, third)] == [1, 5, 9]
    assert all(first[step] == second[step] for step in (5, 6, 7))
    assert all(second[step] == third[step] for step in (9, 10))
    repeated.job = trace.job
    attempt(repeated, rows, resume_from="step-00000008", **config)
    assert repeated.weights() == trace.weights()
    assert repeated.rows == {step: batches for step, batches in trace.rows.items() if step > 8}


def test_rows_that_have_to_be_prepared_again_are_the_same(new_job: NewJob, rows: Rows, whole: Callable[..., Trace]):
    config = {"training": SHORT_EPOCHS, "method": PACKING} | DROPOUT
    expected, trace = whole(**config), Trace(new_job())
    attempt(trace, rows, Link(stop_at={7: StopKind.PAUSE}), **config)
    shutil.rmtree(trace.job.plan().cache_folder)
    attempt(trace, rows, **config)
    assert_equal(trace, expected)


def test_an_evaluation_changes_nothing(whole: Callable[..., Trace]):
    often, never = (whole(training=SHORT_EPOCHS | {"eval_steps": steps}, **DROPOUT) for steps in (1, None))
    assert often.series()["loss"] == never.series()["loss"]
    assert often.series()["eval_loss"].keys() == set(range(LAST + 1))


@pytest.mark.slow
def test_two_workers_train_no_row_twice_where_the_rows_do_not_fill_their_batches(job: Job, tmp_path: Path):
    """Losses and metrics are those of one worker that takes as many rows a pass."""
    job.rows = write_rows(tmp_path / "uneven.arrow", 11)
    for two, one in two_and_one(job, tmp_path, UNEVEN, training={"max_steps": 7, "save_steps": 7}):
        for metric in ("loss", "entropy", "mean_token_accuracy", "num_tokens", "grad_norm"):
            assert two.link.series(metric) == pytest.approx(one.series(metric), rel=1e-4), metric


def test_two_workers(new_job: NewJob, tmp_path: Path):
    """11 rows, one a pass, 2 passes a step: 3 steps an epoch, of 4, 4 and 3 rows. Only one rank knows of the stop."""
    training = PLAIN | {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "logging_steps": 2}
    config = {"training": training | {"eval_steps": 3}} | DROPOUT
    whole, resumed = Trace(new_job()), Trace(new_job())
    tasks = [
        Task(whole.job, {}, config),
        Task(resumed.job, {0: StopKind.DRAIN}, config),
        Task(resumed.job, {2: StopKind.PAUSE}, config),
        Task(resumed.job, {}, config, stop_in=(Phase.EVALUATING, 3, StopKind.PREEMPT)),
        *(Task(resumed.job, {k: StopKind.PAUSE}, config) for k in (5, 6, 11)),
        Task(resumed.job, {}, config),
    ]
    results = train(tmp_path / "ranks", tasks, workers=2)
    for trace, trained in zip([whole, *[resumed] * 7], results, strict=True):
        trace.links.append(trained.link)
        trace.rows |= trained.rows
    ends = [[(outcome["stop"], outcome["step"], outcome["has_saved"]) for outcome in each.outcomes] for each in results]
    assert [first for first, second in ends if first == second] == [
        (None, LAST, False),
        (StopKind.DRAIN, 0, False),
        (StopKind.PAUSE, 2, True),
        (StopKind.PREEMPT, 3, True),
        (StopKind.PAUSE, 5, True),
        (StopKind.PAUSE, 6, True),
        (StopKind.PAUSE, 11, True),
        (None, LAST, False),
    ]
    assert_equal(resumed, whole)
    first, second = (whole.states()[f"rng_state_{rank}.pth"] for rank in (0, 1))
    assert not (first["cpu"] == second["cpu"]).all(), "each rank has its own"
    assert [trained.link.receipt()["bit_exact"] for trained in results[3:]] == [True] * 5
