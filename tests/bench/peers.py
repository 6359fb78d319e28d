"""Named row `peers`: the demo's job in the service, as a plain TRL script, and in LLaMA-Factory.

All train SmolLM2-135M with the same LoRA settings, rows, batch size and number of steps, next to the idle service. The
plain script runs once more without it. LLaMA-Factory is read from `--llamafactory`, the Python of an environment of its
own (`pip install llamafactory`, and releases of torchvision and torchaudio that fit its torch), since its requirements
differ from ours.
"""

import json
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from ftlab.schemas import JobConfig
from ftlab.status import JobStatus
from serve.demo.__main__ import DATA, demo_config
from serve.demo.base_model import MODEL_ID, ensure_base_model
from tests.bench.bench import Bench
from tests.bench.harness import BenchError, Measurement, interleave
from tests.bench.processes import environment
from tests.bench.runs import SCRIPT_TIMEOUT_S, median_step_s, run_job, run_plain, status_at, steps_of
from tests.bench.workload import Workload

ROW = "peers"
TITLE = "the demo's job, and the same in other tools"
POLL_INTERVAL_S = 0.02


@dataclass(frozen=True)
class Run:
    """What one run took, in seconds."""

    step: float
    """Median step, the first three left out."""
    whole: float
    """From the submission, or the start of the command, to the saved model."""


def run(bench: Bench) -> list[Measurement]:
    settings = bench.service.settings
    rows = DATA / "support-train.jsonl"
    dataset = bench.service.client.datasets.upload(rows, name="demo rows")
    work = Workload(ensure_base_model(settings.home / "models"), rows, MODEL_ID, dataset.id)
    config = _config(dataset.id)
    run_plain(
        work, config.model_copy(update={"training": config.training.model_copy(update={"max_steps": 2})}), bench.folder
    )

    measures = [partial(_in_service, bench, config), partial(_plain, bench, work, config)]
    if bench.llamafactory is not None:
        measures.append(partial(_llamafactory, bench, work, config, bench.llamafactory))
    measures.append(partial(_plain_alone, bench, work, config))
    ours, plain, *peers, alone = interleave(bench.pairs, *measures)
    lines = _against("a plain TRL script", ours, plain)
    if peers:
        lines += _against("LLaMA-Factory", ours, peers[0])
    beside = Measurement(
        ROW,
        "a plain TRL script next to the idle service / without it: median step",
        "s",
        [each.step for each in plain],
        [each.step for each in alone],
    )
    return [*lines, beside]


def _config(dataset_id: str) -> JobConfig:
    """The demo's job without its evaluations, with one checkpoint and twice the batch, as the other tools train it.

    In float32: `auto` leaves the weights in bfloat16 in a plain script, which takes many times as long on most CPUs.
    """
    config = demo_config(dataset_id, dataset_id)
    method = config.method.model_copy(update={"assistant_only_loss": False})
    changes = {"save_steps": 10_000_000, "dtype": "float32", "per_device_train_batch_size": 8}
    training = config.training.model_copy(update=changes)
    return config.model_copy(update={"eval_dataset": None, "method": method, "training": training})


def _against(peer: str, ours: list[Run], theirs: list[Run]) -> list[Measurement]:
    return [
        Measurement(ROW, f"median step / {peer}", "s", [run.step for run in ours], [run.step for run in theirs]),
        Measurement(
            ROW,
            f"submit to tuned model / command to end of {peer}",
            "s",
            [run.whole for run in ours],
            [run.whole for run in theirs],
        ),
    ]


def _in_service(bench: Bench, config: JobConfig) -> Run:
    bench.service.wait_for_standby()
    bench.service.settle()
    events = run_job(bench.service, config)
    whole = status_at(events, JobStatus.COMPLETED) - status_at(events, JobStatus.QUEUED)
    return Run(median_step_s(steps_of(events)), whole)


def _plain(bench: Bench, work: Workload, config: JobConfig) -> Run:
    bench.service.wait_for_standby()
    bench.service.settle()
    return _plain_run(bench, work, config)


def _plain_alone(bench: Bench, work: Workload, config: JobConfig) -> Run:
    with bench.service.away():
        return _plain_run(bench, work, config)


def _plain_run(bench: Bench, work: Workload, config: JobConfig) -> Run:
    script = run_plain(work, config, bench.folder)
    return Run(median_step_s(script.steps), script.ended_at - script.started_at)


def _llamafactory(bench: Bench, work: Workload, config: JobConfig, python: Path) -> Run:
    bench.service.wait_for_standby()
    bench.service.settle()
    with tempfile.TemporaryDirectory(dir=bench.folder, prefix="llamafactory-") as tmp:
        folder = Path(tmp)
        arguments = folder / "train.yaml"
        arguments.write_text(yaml.safe_dump(_llamafactory_arguments(folder, work, config)), "utf-8")
        env = environment() | {
            "HF_DATASETS_CACHE": str(bench.folder / "llamafactory-cache"),
            "CUDA_VISIBLE_DEVICES": "",
        }
        env |= {"OMP_NUM_THREADS": str(os.cpu_count()), "DISABLE_VERSION_CHECK": "1"}
        started_at = time.time()
        with (folder / "output.txt").open("wb") as output:
            command = [str(python.with_name("llamafactory-cli")), "train", str(arguments)]
            process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output)
        steps = _watch(process, folder / "model" / "trainer_log.jsonl", config.training.max_steps or 0)
        if process.wait(SCRIPT_TIMEOUT_S):
            raise BenchError(f"LLaMA-Factory failed: {(folder / 'output.txt').read_text('utf-8')[-800:]}")
        ended_at = time.time()
    step = statistics.median(after - before for before, after in pairwise(steps[2:]))
    return Run(step, ended_at - started_at)


def _llamafactory_arguments(folder: Path, work: Workload, config: JobConfig) -> dict[str, Any]:
    columns = {"columns": {"messages": "messages"}, "formatting": "sharegpt"}
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    info = {"rows": {"file_name": str(work.rows), **columns, "tags": tags | {"system_tag": "system"}}}
    (folder / "dataset_info.json").write_text(json.dumps(info), "utf-8")
    training, lora = config.training, config.lora
    targets = lora.target_modules
    return {
        "model_name_or_path": str(_with_dtype(work.model, folder / "base", training.dtype)),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": lora.r,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "lora_target": "all" if isinstance(targets, str) or targets is None else ",".join(targets),
        "template": "chatml",
        "train_on_prompt": True,
        "dataset": "rows",
        "dataset_dir": str(folder),
        "cutoff_len": config.method.max_length,
        "output_dir": str(folder / "model"),
        "per_device_train_batch_size": training.per_device_train_batch_size,
        "gradient_accumulation_steps": training.gradient_accumulation_steps,
        "max_steps": training.max_steps,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": training.lr_scheduler_type,
        "warmup_steps": training.warmup_steps,
        "max_grad_norm": training.max_grad_norm,
        "optim": training.optim or "adamw_torch",
        "seed": training.seed,
        "logging_steps": 1,
        "save_steps": training.save_steps,
        "report_to": "none",
        "use_cpu": True,
    }


def _with_dtype(model: Path, folder: Path, dtype: str) -> Path:
    """Link the model's files into a folder whose config names this dtype: LLaMA-Factory takes it from there alone."""
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).symlink_to(file)
    config = folder / "config.json"
    settings = json.loads(config.read_text("utf-8")) | {"dtype": dtype, "torch_dtype": dtype}
    config.unlink()
    config.write_text(json.dumps(settings), "utf-8")
    return folder


def _watch(process: "subprocess.Popen[bytes]", log: Path, num_steps: int) -> list[float]:
    """When each step was logged, in seconds since the epoch: the log itself has whole seconds."""
    seen: list[float] = []
    deadline = time.monotonic() + SCRIPT_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline and len(seen) < num_steps:
        lines = log.read_text("utf-8").splitlines() if log.exists() else []
        seen += [time.time()] * (len(lines) - len(seen))
        time.sleep(POLL_INTERVAL_S)
    return seen
