"""Delete tuned models by a rule. Blocks on the store and the disk.

All models of a job go together: the folder of its next model is named by how many it has.
"""

import shutil
from collections import defaultdict
from collections.abc import Hashable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cluster.runs.model_location import job_folder
from ftlab.errors import ConflictError
from ftlab.model_ref import parse_model_ref
from ftlab.schemas import TunedModel
from ftlab.schemas.replies import KeptModel, ModelPrune
from ftlab.schemas.requests import ModelRule
from serve.accounts.folder_sizes import measure
from serve.context import Services
from tracking.store import Transaction
from tracking.store.records import JobRecord, ModelRecord

PAGE = 500


def prune(services: Services, owner: str, rule: ModelRule) -> ModelPrune:
    """Delete the models that a rule names, or in a dry run only list them. Raise `NotFoundError` for a model."""
    with services.store.read() as tx:
        jobs = _by_job(_all_of(tx, owner))
        named = {tx.models.resolve(model, owner=owner).job_id for model in rule.models} if rule.models else jobs.keys()
        spared = _spared(tx, list(jobs.values()), rule)
    oldest = datetime.now(UTC) - timedelta(days=rule.older_than_days)
    gone: list[ModelRecord] = []
    kept: list[KeptModel] = []
    size_bytes = 0
    for job_id in (job_id for job_id in jobs if job_id in named):
        models = jobs[job_id]
        if models[-1].created_at > oldest:
            continue
        folders = [job_folder(services.settings, job_id) / model.path.name for model in models]
        size = sum(measure(folder).own_bytes for folder in folders)
        if reason := spared.get(job_id) or _delete(services, models, folders, dry_run=rule.dry_run):
            kept += [KeptModel(model_id=model.id, name=model.name, reason=reason) for model in models]
        else:
            gone += models
            size_bytes += size
    return ModelPrune(
        dry_run=rule.dry_run, data=[TunedModel.of(model) for model in gone], size_bytes=size_bytes, kept=kept
    )


def _all_of(tx: Transaction, owner: str) -> Iterable[ModelRecord]:
    """Newest first."""
    after = None
    while True:
        page = tx.models.list(owner=owner, after=after, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].id


def _by_job(newest_first: Iterable[ModelRecord]) -> dict[str, list[ModelRecord]]:
    """The models of each job, the newest last; the job with the newest model first."""
    found: dict[str, list[ModelRecord]] = defaultdict(list)
    for model in newest_first:
        found[model.job_id].insert(0, model)
    return dict(found)


def _spared(tx: Transaction, jobs: list[list[ModelRecord]], rule: ModelRule) -> dict[str, str]:
    """The jobs whose models the rule spares, with a sentence about why."""
    found: dict[str, str] = {}
    num_of_base: dict[str, int] = defaultdict(int)
    best: dict[Hashable, tuple[float, str]] = {}
    for models in jobs:
        newest = models[-1]
        num_of_base[newest.base_model] += 1
        if num_of_base[newest.base_model] <= rule.keep_newest:
            found[newest.job_id] = f"It is one of the newest models of {newest.base_model}."
        job = tx.jobs.get(newest.job_id)
        if rule.keep_best and job.eval_loss is not None:
            measured = (job.eval_loss, job.id)
            group = _compared_with(job, newest)
            best[group] = min(best.get(group, measured), measured)
    return {job_id: "It has the lowest eval loss of its base model." for _, job_id in best.values()} | found


def _compared_with(job: JobRecord, model: ModelRecord) -> Hashable:
    """What jobs have in common whose eval losses can be compared."""
    config = job.training_config
    return model.base_model, job.eval_dataset_id, None if config is None else config.method.type


def _delete(services: Services, models: list[ModelRecord], folders: list[Path], *, dry_run: bool) -> str | None:
    """Delete the models of a job; the reason where they stay."""
    job_id = models[0].job_id
    try:
        with services.store.begin() as tx:
            tx.deletions.lock(job_id)
            if reason := _why_needed(tx, job_id, models):
                return reason
            if not dry_run:
                tx.deletions.delete_models(job_id, now=datetime.now(UTC))
    except ConflictError as error:  # also while the service still needs the record
        return error.message
    if not dry_run:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    return None


def _why_needed(tx: Transaction, job_id: str, models: list[ModelRecord]) -> str | None:
    ids = {model.id for model in models}
    for user, name in tx.checkpoints.users_of(job_id):
        ref = parse_model_ref(name)
        is_checkpoint = ref.kind == "job" and ref.step is not None
        if not is_checkpoint and not (ref.kind == "model" and ref.id not in ids):
            return f"Job {user!r} needs it. Delete that job first."
    return None
