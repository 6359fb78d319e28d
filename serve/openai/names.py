"""Names of models as OpenAI's clients give them: base models, `ft:...`, and `ft:...:ckpt-step-N`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ftlab.errors import ConflictError, FineTuneLabError, InvalidRequestError, NotFoundError
from ftlab.model_ref import parse_model_ref
from serve.context import Services
from tracking.store import Transaction
from tracking.store.openai_jobs import OpenAiJobRecord
from tracking.store.records import JobRecord

KEY_CHARS = 8
"""Characters of a job's id in the name of its model."""

_TUNED = re.compile(
    rf"(?P<job>ft:[^:]*:[^:]*:[^:]*:(?P<key>[0-9a-z]{{{KEY_CHARS}}}))(:ckpt-step-(?P<step>[0-9]{{1,9}}))?"
)


@dataclass(frozen=True)
class TunedName:
    """The job, and the step of its checkpoint if one is meant, that a name stands for."""

    job: JobRecord
    step: int | None = None

    @property
    def reference(self) -> str:
        """The model as a job's config names it."""
        if self.step is not None:
            return f"job:{self.job.id}/step-{self.step}"
        return f"model:{self.job.model_id}"


def tuned_name(job: JobRecord, request: OpenAiJobRecord | None) -> str:
    """The name of the model that a job delivers: `ft:BASE:OWNER:SUFFIX:KEY`, without slashes."""
    suffix = request.suffix if request else None
    parts = (_label(base_name(job, request)), _plain(job.owner), _plain(suffix or ""), _key(job))
    return ":".join(["ft", *parts])


def checkpoint_name(model: str, step: int) -> str:
    """The name of the checkpoint of one step."""
    return f"{model}:ckpt-step-{step}"


def base_name(job: JobRecord, request: OpenAiJobRecord | None) -> str:
    """The base model as it was requested. A folder is named without its path."""
    name = request.model if request else str(job.submitted_config.get("model", ""))
    return name.rstrip("/").rsplit("/", 1)[-1] if name.startswith("/") else name


def is_tuned_name(name: str) -> bool:
    """Whether a name is that of a fine-tuned model, whether or not there is such a model."""
    return name.startswith("ft:")


def find_tuned(tx: Transaction, owner: str, name: str) -> TunedName:
    """Raise `NotFoundError` (`model_not_found`) unless the owner has this model, or this checkpoint of a job."""
    match = _TUNED.fullmatch(name)
    if match is None:
        raise no_such_model(name)
    try:
        job = tx.jobs.resolve(f"job-{match['key']}", owner=owner)
    except (NotFoundError, ConflictError):
        raise no_such_model(name) from None
    if tuned_name(job, tx.openai_jobs.of_jobs([job.id]).get(job.id)) != match["job"]:
        raise no_such_model(name)
    if match["step"] is None:
        if job.model_id is None:
            raise no_such_model(name)
        return TunedName(job)
    step = int(match["step"])
    if all(checkpoint.step != step for checkpoint in tx.checkpoints.of_job(job.id)):
        raise no_such_model(name)
    return TunedName(job, step)


def own_reference(services: Services, owner: str, name: str) -> str:
    """The base model that a name in a request stands for, as a job's config names it. Blocks on the store.

    Raise `InvalidRequestError` (`model_not_found`) for a name that stands for none.
    """
    aliases: Mapping[str, str] = services.settings.openai_models
    if name in aliases:
        return aliases[name]
    try:
        if is_tuned_name(name):
            with services.store.read() as tx:
                return find_tuned(tx, owner, name).reference
        parse_model_ref(name)
    except FineTuneLabError as error:
        message = (
            error.message
            if is_tuned_name(name)
            else (
                "This service has no model of this name. Give a base model such as 'org/name', or have the setting "
                "openai_models name one for it."
            )
        )
        raise InvalidRequestError(message, "model_not_found", "model") from None
    return name


def no_such_model(name: str) -> NotFoundError:
    return NotFoundError(f"The model '{name}' does not exist.", "model_not_found", "model")


def _key(job: JobRecord) -> str:
    return job.id.partition("-")[2][:KEY_CHARS]


def _label(model: str) -> str:
    if is_tuned_name(model):
        return model.split(":")[1]
    return _plain(model.rsplit("/", 1)[-1].split("@")[0]) or "model"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")[:64]
