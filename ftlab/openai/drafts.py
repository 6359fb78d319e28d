"""Job files made of fine-tuning jobs of OpenAI. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftlab.errors import FineTuneLabError
from ftlab.openai.settings import BATCH_SETTINGS, METHODS, learning_rate_of, passes_of
from ftlab.schemas.auto import AUTO
from ftlab.schemas.job_file import parse_job_config, short_document, write_yaml

TUNING = "lora"


@dataclass(frozen=True)
class Draft:
    """The job file of one job, or why there is none."""

    job_id: str
    text: str | None
    problem: str | None = None


def draft_of(job: Mapping[str, Any], datasets: Mapping[str, str], models: Mapping[str, str]) -> Draft:
    """The job file. `datasets` are ours by the id of OpenAI's file, `models` base models by the name of OpenAI's.

    A model that is not among `models` keeps its name, which `ftlab submit` refuses until it is replaced.
    """
    name = str(job["id"])
    method, hyperparameters = _method(job)
    if method not in ("supervised", "dpo"):
        return Draft(name, None, f"the method '{method}' is not imported, because its grader has to be chosen again")
    files = {"training": job.get("training_file"), "validation": job.get("validation_file")}
    missing = [f"{file} file {found}" for file, found in files.items() if found and found not in datasets]
    if missing or files["training"] is None:
        return Draft(name, None, f"its {' and its '.join(missing) or 'training file'} is not among the files")
    document: dict[str, Any] = {
        "name": _name(job),
        "model": models.get(str(job.get("model")), str(job.get("model"))),
        "dataset": datasets[str(files["training"])],
        "method": {"type": METHODS[method].model_fields["type"].default},
        "training": _training(hyperparameters, method, job),
    }
    if files["validation"]:
        document["eval_dataset"] = datasets[str(files["validation"])]
    beta = hyperparameters.get("beta")
    if isinstance(beta, int | float):
        document["method"]["beta"] = float(beta)
    try:
        config = parse_job_config(document, name)
    except FineTuneLabError as error:
        return Draft(name, None, error.message)
    return Draft(name, _comment(job) + write_yaml(short_document(config)))


def _method(job: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The name of the method, and its hyperparameters."""
    method = job.get("method")
    if isinstance(method, dict) and isinstance(method.get("type"), str):
        settings = method.get(method["type"])
        given = settings.get("hyperparameters") if isinstance(settings, dict) else None
        return method["type"], given or job.get("hyperparameters") or {}
    return "supervised", job.get("hyperparameters") or {}


def _training(hyperparameters: Mapping[str, Any], method: Any, job: Mapping[str, Any]) -> dict[str, Any]:
    epochs, rows = hyperparameters.get("n_epochs"), hyperparameters.get("batch_size")
    multiplier: Any = hyperparameters.get("learning_rate_multiplier")
    training: dict[str, Any] = {"num_train_epochs": float(epochs) if isinstance(epochs, int) else AUTO}
    training |= passes_of(rows) if isinstance(rows, int) and rows > 0 else dict.fromkeys(BATCH_SETTINGS, AUTO)
    is_given = isinstance(multiplier, int | float)
    training["learning_rate"] = learning_rate_of(multiplier, method, TUNING) if is_given else AUTO
    if isinstance(seed := job.get("seed"), int):
        training["seed"] = seed
    return training


def _name(job: Mapping[str, Any]) -> str:
    """The suffix of the fine-tuned model, else the id."""
    parts = str(job.get("fine_tuned_model") or "").split(":")
    suffix = job.get("user_provided_suffix") or (parts[3] if len(parts) > 3 else "")
    return str(suffix or job["id"])


def _comment(job: Mapping[str, Any]) -> str:
    status, model = job.get("status"), job.get("model")
    return f"# Made of OpenAI's job {job['id']} ({status}), which trained {model}.\n"
