"""The descriptions that MLflow shows on the page of a run and of a model version, in Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from ftlab.formatting import markdown_text
from ftlab.schemas import EvaluationConfig, ExportConfig, JobConfig
from tracking.store.records import AttemptRecord, CheckpointRecord, DatasetRecord, JobRecord, ModelRecord

NOTE_TAG = "mlflow.note.content"
MAX_DATASETS_NAMED = 3


@dataclass(frozen=True)
class RunFacts:
    """What the description of a run is written from."""

    job: JobRecord
    attempts: Sequence[AttemptRecord]
    datasets: Sequence[DatasetRecord | None]
    """The job's datasets in their order; `None` for a removed one."""
    eval_dataset: DatasetRecord | None
    models: Sequence[ModelRecord]
    """One for each completion of the job."""
    best: CheckpointRecord | None
    """The checkpoint with the lowest eval loss, where one was measured."""
    parent_run_id: str | None = None
    """The run of its sweep."""

    @property
    def run_time_s(self) -> float:
        """Seconds of all attempts that have ended, without queue and pauses."""
        ends = [(attempt.created_at, attempt.ended_at) for attempt in self.attempts]
        return sum(max(0.0, (ended - started).total_seconds()) for started, ended in ends if ended is not None)


def run_note(facts: RunFacts, server_url: str) -> str:
    """What was done, the result, how to download it, and the job's record in the API."""
    job = facts.job
    rows = [
        ("Status", f"{job.status}. {markdown_text(job.message)}" if job.message else job.status),
        ("Steps", f"{job.step} of {job.total_steps}" if job.total_steps else None),
        ("Loss", number(job.loss)),
        ("Eval loss", _eval_loss(facts)),
        ("Ran for", _run_time(facts)),
        ("Changed", _adjustments(facts)),
        ("Job", f"[{job.id}]({server_url}/api/training/jobs/{job.id})"),
    ]
    parts = [_what(facts), table(rows)]
    if facts.models:
        parts.append(f"Download the tuned model:\n\n```bash\nftlab download {job.id}\n```")
    return "\n\n".join(parts)


def model_note(facts: RunFacts, model: ModelRecord, server_url: str) -> str:
    """The same for a version of a registered model."""
    job = facts.job
    kind = "LoRA adapter for" if model.kind == "adapter" else "All weights of"
    sentences = [
        f"{kind} `{_code(model.base_model)}`, trained by the job [{job.id}]({server_url}/api/training/jobs/{job.id})"
        f" on {_datasets(facts)}. It is the state after step {model.step}.",
        f"Download it with `ftlab download {job.id}`.",
    ]
    return "\n\n".join(sentences)


def _what(facts: RunFacts) -> str:
    config = facts.job.config
    if isinstance(config, EvaluationConfig):
        models = ", ".join(f"`{_code(model)}`" for model in config.models)
        return f"Evaluation of {models} and the base models on {_datasets(facts)}."
    if isinstance(config, ExportConfig):
        return f"Export of `{_code(config.model)}` as {' and '.join(config.formats)}."
    return _trained(facts)


def _trained(facts: RunFacts) -> str:
    config = facts.job.config
    model = config.model if isinstance(config, JobConfig) else str(facts.job.submitted_config.get("model"))
    how = f" ({_method(config)})" if isinstance(config, JobConfig) else ""
    held_out = f", evaluated on {_dataset(facts.eval_dataset)}" if facts.eval_dataset else ""
    if isinstance(config, JobConfig) and config.eval_split is not None:
        held_out = f", evaluated on {config.eval_split:.4g} of the rows, which are not trained"
    return f"Fine-tuning of `{_code(model)}`{how} on {_datasets(facts)}{held_out}."


_ADAPTERS = {None: "LoRA", "load_in_4bit": "QLoRA", "load_in_8bit": "8-bit LoRA"}


def _method(config: JobConfig) -> str:
    adapter = f"{_ADAPTERS[config.quantised_by]}, r {config.lora.r}"
    tuning = "all weights" if config.tuning == "full" else adapter
    return f"{config.method.type.upper()}, {tuning}, learning rate {config.learning_rate:g}"


def _datasets(facts: RunFacts) -> str:
    named = [_dataset(dataset) for dataset in facts.datasets[:MAX_DATASETS_NAMED]]
    num_others = len(facts.datasets) - len(named)
    return ", ".join(named) + (f" and {num_others} more" if num_others else "")


def _dataset(dataset: DatasetRecord | None) -> str:
    if dataset is None:
        return "a dataset that was removed"
    return f"**{markdown_text(dataset.name)}** ({dataset.num_rows:,} rows)"


def _eval_loss(facts: RunFacts) -> str | None:
    newest, best = number(facts.job.eval_loss), facts.best
    if newest and best is not None and (loss := number(best.metrics.get("eval_loss"))):
        return f"{newest}, at best {loss} after step {best.step}"
    return newest


def _run_time(facts: RunFacts) -> str | None:
    if not facts.run_time_s:
        return None
    time = str(timedelta(seconds=round(facts.run_time_s)))
    num_attempts = len(facts.attempts)
    return time if num_attempts == 1 else f"{time} in {num_attempts} attempts"


def _adjustments(facts: RunFacts) -> str | None:
    """The settings that were changed since the submission; MLflow's parameters keep their first values."""
    changed = [f"after attempt {each.attempt}: {markdown_text(each.sentence)}" for each in facts.job.adjustments]
    return "; ".join(changed) or None


def table(rows: Iterable[tuple[str, str | None]]) -> str:
    """A table of names and values; names without a value are left out."""
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows if value)
    return f"| | |\n|---|---|\n{lines}"


def number(value: float | None) -> str | None:
    """The value with four digits."""
    return None if value is None else f"{value:.4g}"


def _code(text: str) -> str:
    """The text for use between backquotes."""
    return " ".join(text.replace("`", "'").split())
