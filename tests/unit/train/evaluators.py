"""Evaluations of the tiny model over given token rows: in this process, or by two ranks that stay up between them."""

from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from datasets import Dataset

from tests.unit.train.rank_processes import answers, end_ranks, start_ranks
from tests.unit.train.runs import MODEL, Job, Link
from train.device_defaults import with_device_defaults
from train.devices import traits_of
from train.loop.callback import RunCallback
from train.loop.run_context import RunContext
from train.methods import make_trainer
from train.methods.trainer_inputs import TrainerInputs
from train.model.base_model import find_model
from train.model.load import load_model
from train.model.tokenizer import load_tokenizer
from train.row_schedule import RowSchedule

Rows = list[dict[str, list[int]]]


class Evaluator:
    """The trainer of a job that never trains."""

    def __init__(self, folder: Path, models: Path, row: dict[str, Any] | None = None, **config: Any) -> None:
        """`row` is a row of the method in `config`, by default that of supervised fine-tuning with packing."""
        job = Job(folder / "job", models, folder / "rows.jsonl")
        plan = job.plan(**config or {"method": {"type": "sft", "max_length": 64, "packing": True}})
        plan = replace(plan, config=with_device_defaults(plan.config, traits_of(plan)))
        base = find_model(MODEL, models)
        run = RunContext.of(plan, Link())
        schedule = RowSchedule.planned(plan.config.training, [1], 1)
        inputs = TrainerInputs(
            plan=plan,
            model=load_model(base, plan.config, use_cuda=False),
            tokenizer=load_tokenizer(base),
            train_set=Dataset.from_list([row or {"input_ids": [1, 2], "labels": [1, 2]}]),
            eval_set=None,
            schedule=schedule,
            callback=RunCallback(run, base, schedule, evaluation="rows", resumed=None),
            resume_from=None,
            evaluates_first=False,
        )
        self.trainer: Any = make_trainer(inputs)

    def evaluate(self, rows: Rows, batch_size: int) -> dict[str, float]:
        self.trainer.args.per_device_eval_batch_size = batch_size
        metrics: dict[str, float] = self.trainer.evaluate(Dataset.from_list(rows))
        return metrics


class TwoRanks:
    """Two processes, each with an `Evaluator`, in one group."""

    def __init__(self, folder: Path, models: Path) -> None:
        self._ranks = start_ranks(_evaluate_all, 2, folder / "store", folder, models)

    def __enter__(self) -> "TwoRanks":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        end_ranks(self._ranks)

    def evaluate(self, rows: Rows, batch_size: int) -> dict[str, float]:
        """Raise `AssertionError` when the ranks do not agree on every bit."""
        first, second = answers(self._ranks, (rows, batch_size))
        assert first == second
        means: dict[str, float] = first
        return means


def _evaluate_all(pipe: Connection, folder: Path, models: Path) -> None:
    import torch.distributed as dist

    evaluator = Evaluator(folder / str(dist.get_rank()), models)
    while True:
        rows, batch_size = pipe.recv()
        metrics = evaluator.evaluate(rows, batch_size)
        pipe.send({name: metrics[f"eval_{name}"] for name in evaluator.trainer.eval_metrics})
