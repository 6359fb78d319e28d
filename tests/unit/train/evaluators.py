"""Evaluations of the tiny model over given token rows: in this process, or by two ranks that stay up between them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from datasets import Dataset

from tests.unit.train.runs import MODEL, Job, Link
from train.device_defaults import with_device_defaults
from train.devices import place_of
from train.loop.callback import RunCallback
from train.loop.run_context import RunContext
from train.methods import make_trainer
from train.methods.trainer_inputs import TrainerInputs
from train.model.base_model import find_model
from train.model.load import load_model
from train.model.tokenizer import load_tokenizer
from train.row_schedule import RowSchedule

Rows = list[dict[str, list[int]]]
ANSWER = "metrics: "


class Evaluator:
    """The trainer of a job that never trains."""

    def __init__(self, folder: Path, models: Path) -> None:
        job = Job(folder / "job", models, folder / "rows.jsonl")
        plan = job.plan(method={"type": "sft", "max_length": 64, "packing": True})
        plan = replace(plan, config=with_device_defaults(plan.config, place_of(plan)))
        base = find_model(MODEL, models)
        run = RunContext.of(plan, Link())
        schedule = RowSchedule.planned(plan.config.training, [1], 1)
        inputs = TrainerInputs(
            plan=plan,
            model=load_model(base, plan.config, use_cuda=False),
            tokenizer=load_tokenizer(base),
            train_set=Dataset.from_list([{"input_ids": [1, 2], "labels": [1, 2]}]),
            eval_set=None,
            schedule=schedule,
            callback=RunCallback(run, base, schedule, has_eval=True, resumed=None),
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
        shared = os.environ | {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        self._ranks = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.unit.train.evaluators", str(folder), str(models)],
                env=shared | {"RANK": rank, "LOCAL_RANK": rank, "GLOO_SOCKET_IFNAME": "lo"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in ("0", "1")
        ]

    def __enter__(self) -> "TwoRanks":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for rank in self._ranks:
            rank.kill()
            rank.wait()

    def evaluate(self, rows: Rows, batch_size: int) -> dict[str, float]:
        """Raise `AssertionError` when the ranks do not agree on every bit."""
        for rank in self._ranks:
            assert rank.stdin is not None
            rank.stdin.write(json.dumps([rows, batch_size]) + "\n")
            rank.stdin.flush()
        first, second = (self._answer(rank) for rank in self._ranks)
        assert first == second
        return first

    def _answer(self, rank: "subprocess.Popen[str]") -> dict[str, float]:
        assert rank.stdout is not None
        for line in rank.stdout:
            if line.startswith(ANSWER):
                metrics: dict[str, float] = json.loads(line.removeprefix(ANSWER))
                return metrics
        raise AssertionError("A rank has ended.")


def _main(folder: Path, models: Path) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    evaluator = Evaluator(folder / str(rank), models)
    for line in sys.stdin:
        rows, batch_size = json.loads(line)
        metrics = evaluator.evaluate(rows, batch_size)
        means = {name: metrics[f"eval_{name}"] for name in evaluator.trainer.eval_metrics}
        print(ANSWER + json.dumps(means), flush=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
