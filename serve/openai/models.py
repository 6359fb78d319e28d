"""Models of `/v1`: those that jobs delivered, and the base models on this machine. Every function blocks."""

from datetime import UTC, datetime

from serve.context import Services
from serve.models.deletion import remove_models
from serve.openai.ids import fine_tune_id, seconds
from serve.openai.names import checkpoint_name, find_tuned, is_tuned_name, no_such_model, tuned_name
from serve.openai.objects import OpenAiDeleted, OpenAiList, OpenAiModel, page
from tracking.store import Transaction
from tracking.store.openai_jobs import has_model
from tracking.store.records import CheckpointRecord, JobRecord
from train.model.files import ADAPTER_CONFIG, CONFIG

PAGE = 500
BASE_OWNER = "system"
"""Owner of base models, as OpenAI calls it."""


def list_models(services: Services, owner: str) -> OpenAiList[OpenAiModel]:
    """All of them: tuned models, newest first, each before the checkpoints of its job, then base models by name."""
    found: list[OpenAiModel] = []
    with services.store.read() as tx:
        after = None
        while True:
            jobs = tx.jobs.list(owner=owner, after=after, limit=PAGE, conditions=[has_model()])
            saved = tx.checkpoints.of_jobs([job.id for job in jobs])
            for job, tuned in zip(jobs, _tuned(tx, jobs), strict=True):
                found += [tuned, *(_checkpoint(tuned.id, each, owner) for each in saved.get(job.id, []))]
            if len(jobs) < PAGE:
                break
            after = jobs[-1].id
    bases = sorted(base_models(services).items())
    return page([*found, *(_base(name, created) for name, created in bases)], has_more=False)


def get_model(services: Services, owner: str, name: str) -> OpenAiModel:
    """A tuned model, a checkpoint of a job, or a base model. Raises `NotFoundError` (`model_not_found`)."""
    if not is_tuned_name(name):
        bases = base_models(services)
        if name not in bases:
            raise no_such_model(name)
        return _base(name, bases[name])
    with services.store.read() as tx:
        tuned = find_tuned(tx, owner, name)
        if tuned.step is None:
            return _tuned(tx, [tuned.job])[0]
        checkpoint = next(each for each in tx.checkpoints.of_job(tuned.job.id) if each.step == tuned.step)
        request = tx.openai_jobs.of_jobs([tuned.job.id]).get(tuned.job.id)
    return _checkpoint(tuned_name(tuned.job, request), checkpoint, owner)


def delete_model(services: Services, owner: str, name: str) -> OpenAiDeleted:
    """Delete a tuned model and its files; the job and its checkpoints stay.

    Raise `NotFoundError` for any other name, `ConflictError` (`model_in_use`) while a job starts from it, and
    `JobBusyError` while the service still needs the files.
    """
    with services.store.begin() as tx:
        tuned = find_tuned(tx, owner, name)
        if tuned.step is not None:
            raise no_such_model(name)
        deleted = tx.models.all_of_job(tuned.job.id)
        tx.deletions.delete_models(tuned.job.id, now=datetime.now(UTC))
    remove_models(services, deleted)
    return OpenAiDeleted(id=name, object="model")


def base_models(services: Services) -> dict[str, int]:
    """The names of the setting `openai_models` and of the models folder, with the times of their folders."""
    found = dict.fromkeys(services.settings.openai_models, 0)
    for folder in (services.settings.home / "models").glob("*"):
        if (folder / CONFIG).is_file() or (folder / ADAPTER_CONFIG).is_file():
            found[folder.name.replace("--", "/", 1)] = int(folder.stat().st_mtime)
    return found


def _tuned(tx: Transaction, jobs: list[JobRecord]) -> list[OpenAiModel]:
    requests = tx.openai_jobs.of_jobs([job.id for job in jobs])
    return [
        OpenAiModel(
            id=tuned_name(job, requests.get(job.id)),
            created=seconds(job.finished_at or job.created_at),
            owned_by=f"org-{job.owner}",
            fine_tuning_job_id=fine_tune_id(job.id),
            model_id=job.model_id,
        )
        for job in jobs
    ]


def _checkpoint(model: str, checkpoint: CheckpointRecord, owner: str) -> OpenAiModel:
    return OpenAiModel(
        id=checkpoint_name(model, checkpoint.step),
        created=seconds(checkpoint.created_at),
        owned_by=f"org-{owner}",
        step=checkpoint.step,
    )


def _base(name: str, created: int) -> OpenAiModel:
    return OpenAiModel(id=name, created=created, owned_by=BASE_OWNER)
