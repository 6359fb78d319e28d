"""`make demo`: the whole life of one job on this machine, from an empty folder to answers of the tuned model.

A second run uses the base model, the datasets and the running service of the first.
"""

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from ftlab import Client, FineTuneLabError
from ftlab.cli.service_file import running_service
from ftlab.schemas import Dataset, EventKind, JobConfig, LoraConfig, Resources, SftMethod, TrainingConfig
from ftlab.settings import Settings, load_settings
from serve.demo.base_model import MODEL_ID, ensure_base_model

DATA = Path(__file__).parent / "data"

console = Console(highlight=False)


def main() -> int:
    started = time.monotonic()
    settings = load_settings()
    try:
        starting = _start_service(settings)
        console.print("[bold]Base model[/bold]    fetching SmolLM2-135M-Instruct (once)")
        base = ensure_base_model(settings.home / "models")
        _wait_for(starting)
        console.print(f"[bold]Web app[/bold]       {settings.server_url} shows all that follows")
        with Client(settings.server_url) as client:
            _train_and_show(client, settings, base)
    except FineTuneLabError as error:
        console.print(f"[red]{error.message}[/red]")
        return 1
    console.print(f"The demo took {time.monotonic() - started:.0f} s. `make down` stops the service.")
    return 0


def _start_service(settings: Settings) -> subprocess.Popen[bytes] | None:
    """Start the service while the model is fetched; `None` when one is already running."""
    if running_service(settings) is not None:
        console.print(f"[bold]Service[/bold]       is already running with its data in {settings.home}")
        return None
    console.print(f"[bold]Service[/bold]       starting with its data in {settings.home}")
    return subprocess.Popen([sys.executable, "-m", "ftlab.cli.main", "up", "--detach", "--quiet"])


def _wait_for(starting: subprocess.Popen[bytes] | None) -> None:
    if starting is not None and starting.wait() != 0:
        raise FineTuneLabError("The service did not start; see the lines above for the reason.")


def _train_and_show(client: Client, settings: Settings, base: Path) -> None:
    train = _dataset(client, DATA / "support-train.jsonl")
    heldout = _dataset(client, DATA / "support-heldout.jsonl")
    job = client.jobs.create(demo_config(train.id, heldout.id))
    console.print(f"[bold]Job[/bold]           {job.id}, {train.num_rows} rows, {heldout.num_rows} held out")
    _follow(client, job.id)
    job = client.jobs.wait(job.id)

    losses = list(client.jobs.metrics(job.id, names=["eval_loss"]))
    before, after = losses[0], losses[-1]
    target = settings.home / "demo" / f"{job.id}.zip"
    target.parent.mkdir(parents=True, exist_ok=True)
    client.jobs.download_model(job.id, target)
    adapter = target.with_suffix("")
    with zipfile.ZipFile(target) as archive:
        archive.extractall(adapter)
    told = f"{before.value:.3f} before, [green]{after.value:.3f}[/green] after {after.step} steps"
    console.print(f"[bold]Eval loss[/bold]     {told}")
    _show_answers(base, adapter)
    console.print(f"\nAdapter ZIP    {target}")
    console.print(f"This job       {settings.server_url}/jobs/{job.id}", soft_wrap=True)
    console.print(f"API docs       {settings.server_url}/docs")
    # A wrapped address cannot be opened.
    experiments = settings.mlflow_page("experiments")
    console.print(f"MLflow         {experiments}", soft_wrap=True)
    console.print(f"Ray dashboard  {settings.dashboard_url}  (token: {settings.home / 'ray_token'})")
    console.print(f"\nOpen the curves of this job: {job.mlflow_url or experiments}", soft_wrap=True)


def demo_config(train_id: str, heldout_id: str) -> JobConfig:
    """LoRA on 80 rows of the sample dataset: one to two minutes on two CPU cores."""
    return JobConfig(
        name="support-demo",
        model=MODEL_ID,
        dataset=train_id,
        eval_dataset=heldout_id,
        method=SftMethod(max_length=128),
        lora=LoraConfig(r=16, lora_alpha=32),
        training=TrainingConfig(
            max_steps=20,
            per_device_train_batch_size=4,
            per_device_eval_batch_size=12,
            learning_rate=1e-3,
            warmup_steps=2,
            save_steps=10,
        ),
        resources=Resources(),
    )


def _dataset(client: Client, file: Path) -> Dataset:
    """Upload the file, unless a demo before did."""
    for dataset in client.datasets.list():
        if dataset.name == file.name and dataset.size_bytes == file.stat().st_size:
            return dataset
    return client.datasets.upload(file)


def _follow(client: Client, job_id: str) -> None:
    """One line per status and per logged step, as they happen."""
    for event in client.jobs.follow(job_id):
        data = event.data
        if event.kind is EventKind.STATUS:
            console.print(f"[bold]{data['status']:<14}[/bold]{data['message']}")
        elif event.kind is EventKind.METRICS and "loss" in data["values"]:
            values, eta_s = data["values"], data["eta_s"] or 0.0
            speed = f"  {values['tokens_per_s']:.0f} tok/s" if "tokens_per_s" in values else ""
            console.print(
                f"              step {data['step']:>3}/{data['total_steps']}  loss {values['loss']:.3f}"
                f"  ETA {eta_s:.0f} s{speed}"
            )
        elif event.kind is EventKind.METRICS and "eval_loss" in data["values"]:
            console.print(f"              eval loss {data['values']['eval_loss']:.3f} at step {data['step']}")
        elif event.kind is EventKind.NOTICE:
            console.print(Padding(data["message"], (0, 0, 0, 14)))


def _show_answers(base: Path, adapter: Path) -> None:
    console.print("[bold]Answers[/bold]       the base model and the tuned model answer the same questions")
    # A process of its own: the demo itself needs no torch.
    done = subprocess.run(
        [sys.executable, "-m", "serve.demo.answers", str(base), str(adapter)], check=True, capture_output=True
    )
    table = Table(show_lines=True)
    for column in ("Question", "Base model", "Tuned model"):
        table.add_column(column, ratio=1, overflow="fold")
    for row in json.loads(done.stdout):
        table.add_row(row["question"], row["base"], row["tuned"])
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
