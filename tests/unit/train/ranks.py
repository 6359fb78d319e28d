"""Runs with several workers, in processes that are started once for all tests."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from ftlab.schemas import EventKind
from tests.unit.train.rank_processes import Rank, answers, end_ranks, start_ranks
from tests.unit.train.runs import Job, Link
from tests.unit.train.traces import Rows, record_rows
from train.plan import Phase, StopKind

MEASURED = {"step_time_s", "data_wait_s", "tokens_per_s"}
"""Series of a run's speed."""
TOLD_OF_JOB = ("attempts", "recorded_step", "recorded_eval_step", "recorded_checkpoints")


@dataclass(frozen=True)
class Task:
    """One attempt of a job."""

    job: Job
    stop_at: dict[int, StopKind] = field(default_factory=dict)
    """What the last rank alone is asked for."""
    config: dict[str, Any] = field(default_factory=dict)
    stop_in: tuple[Phase, int, StopKind] | None = None
    """The same, while the run is at something after some step."""


@dataclass(frozen=True)
class Trained:
    """What all ranks of one attempt did."""

    link: Link
    """Of rank 0."""
    rows: Rows
    """Those of each step, rank by rank."""
    outcomes: list[dict[str, Any]]


UNEVEN: list[dict[str, int]] = [
    # Of the 11 rows, the last step of an epoch takes 3: here by a full batch and half a one.
    {"per_device_train_batch_size": 2},
    # And here by two passes, of which the second has a row for one worker only.
    {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2},
    # One row is left for the last step, which the other worker joins without any.
    {"per_device_train_batch_size": 5},
]


def two_and_one(job: Job, folder: Path, shapes: list[dict[str, int]], **config: Any) -> list[tuple[Trained, Link]]:
    """What two workers compute with batches of each shape, and what one computes that takes as many rows a pass.

    Their jobs, `two-N` and `one-N` in `folder`, are like `job`.
    """
    training = config.pop("training", {})
    tasks, alone = [], []
    for number, shape in enumerate(shapes):
        two, one = (Job(folder / f"{name}-{number}", job.models, job.rows, job.eval_rows) for name in ("two", "one"))
        tasks.append(Task(two, config=config | {"training": training | shape}))
        size = 2 * shape["per_device_train_batch_size"]
        alone.append(Link())
        one.train(alone[-1], training=training | shape | {"per_device_train_batch_size": size}, **config)
    return list(zip(train(folder / "ranks", tasks, workers=2), alone, strict=True))


def assert_same_numbers(found: Link, expected: Link, ignored: Collection[str] = (), tolerance: float = 1e-5) -> None:
    """Both have the same metrics, up to rounding, except for their speed and those that are `ignored`."""
    names = {name for data in expected.told(EventKind.METRICS) for name in data["values"]}
    assert {"loss", "grad_norm", "num_tokens", "eval_loss"} <= names
    differing = {
        name: (found.series(name), expected.series(name))
        for name in names - MEASURED.union(ignored)
        if found.series(name) != pytest.approx(expected.series(name), rel=tolerance, abs=tolerance)
    }
    assert not differing, differing


_started: dict[int, list[Rank]] = {}
"""The ranks that wait for tasks, by their number."""


def train(folder: Path, tasks: list[Task], *, workers: int) -> list[Trained]:
    """Train all `tasks` one after the other, in `workers` processes beside this one."""
    folder.mkdir(parents=True)
    documents = [
        {"job": asdict(task.job), "stop_at": task.stop_at, "stop_in": task.stop_in, "config": task.config}
        for task in tasks
    ]
    if workers not in _started:
        _started[workers] = start_ranks(_train_all, workers, folder / "store")
    try:
        told = list(map(json.loads, answers(_started[workers], json.dumps(documents, default=str))))
    except BaseException:
        end_ranks(_started.pop(workers))
        raise
    for task, document in zip(tasks, told[0], strict=True):
        vars(task.job).update({name: document["job"][name] for name in TOLD_OF_JOB})
    return [_merged([rank[number] for rank in told]) for number in range(len(tasks))]


def _merged(ranks: list[dict[str, Any]]) -> Trained:
    link = Link(events=[(EventKind(kind), data) for kind, data in ranks[0]["events"]])
    rows = {int(step): [rank["rows"][step] for rank in ranks] for step in ranks[0]["rows"]}
    return Trained(link, rows, [rank["outcome"] for rank in ranks])


def _train_all(pipe: Connection) -> None:
    rows = record_rows()
    while True:
        pipe.send(json.dumps(_train_each(json.loads(pipe.recv()), rows), default=str))


def _train_each(documents: list[dict[str, Any]], rows: Rows) -> list[dict[str, Any]]:
    import torch.distributed as dist

    rank, workers = dist.get_rank(), dist.get_world_size()
    told = []
    jobs: dict[str, Job] = {}
    for document in documents:
        job = jobs.setdefault(document["job"]["folder"], _job(document["job"]))
        stop_at = {int(step): StopKind(kind) for step, kind in document["stop_at"].items()}
        phase, step, kind = document["stop_in"] or (None, None, None)
        stop_in = {(Phase(phase), step): StopKind(kind)} if phase else {}
        link = Link(stop_at=stop_at, stop_in=stop_in) if rank == workers - 1 else Link()
        rows.clear()
        config = document["config"]
        resources = {"num_workers": workers} | config.pop("resources", {})
        outcome = job.train(link, resources=resources, **config)
        told.append({"events": link.events, "rows": dict(rows), "outcome": asdict(outcome), "job": asdict(job)})
    return told


def _job(document: dict[str, Any]) -> Job:
    paths: dict[str, Any] = {name: Path(document[name]) for name in ("folder", "models")}
    paths["eval_rows"] = Path(document["eval_rows"]) if document["eval_rows"] else None
    rows = document["rows"]
    paths["rows"] = [Path(file) for file in rows] if isinstance(rows, list) else Path(rows)
    return Job(**document | paths)
