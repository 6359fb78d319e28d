"""Delete tuned models by a rule. Blocks on the store and the disk.

All models of a job go together: the folder of its next model is named by how many it has.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cluster.runs.model_location import job_folder
from ftlab.errors import ConflictError
from ftlab.model_ref import parse_model_ref
from ftlab.schemas import TunedModel
from ftlab.schemas.events import FINAL_EVAL_LOSS
from ftlab.schemas.replies import KeptModel, ModelPrune
from ftlab.schemas.requests import ModelRule
from serve.accounts.folder_sizes import measure
from serve.context import Services
from tracking.deleted_folders import remove_folder
from tracking.store import Transaction
from tracking.store.records import ModelRecord
from train.analytics.compared_configs import evaluation_groups

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
        if reason := spared.get(job_id) or _delete(services, models, dry_run=rule.dry_run):
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
    best: dict[int, tuple[float, str]] = {}
    groups = evaluation_groups([tx.jobs.get(models[-1].job_id).training_config for models in jobs])
    for models, group in zip(jobs, groups, strict=True):
        newest = models[-1]
        num_of_base[newest.base_model] += 1
        if num_of_base[newest.base_model] <= rule.keep_newest:
            found[newest.job_id] = f"It is one of the newest models of {newest.base_model}."
        loss = _eval_loss(tx, newest) if rule.keep_best and group is not None else None
        if group is not None and loss is not None:
            measured = (loss, newest.job_id)
            best[group] = min(best.get(group, measured), measured)
    return {job_id: "It has the lowest eval loss of its base model." for _, job_id in best.values()} | found


def _eval_loss(tx: Transaction, model: ModelRecord) -> float | None:
    """The eval loss of the delivered step, which is an earlier one than the last where that was better."""
    found = (tx.metrics.values(model.job_id, name).get(model.step) for name in ("eval_loss", FINAL_EVAL_LOSS))
    return next((loss for loss in found if loss is not None), None)


def _delete(services: Services, models: list[ModelRecord], *, dry_run: bool) -> str | None:
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
        remove_models(services, models)
    return None


def remove_models(services: Services, models: Iterable[ModelRecord]) -> None:
    """Remove the files of models that the database no longer has; what is left by a crash, the next start removes."""
    for model in models:
        remove_folder(services.store, services.settings.home / "jobs", model.id, f"{model.job_id}/{model.path.name}")


def _why_needed(tx: Transaction, job_id: str, models: list[ModelRecord]) -> str | None:
    ids = {model.id for model in models}
    for user, name in tx.checkpoints.users_of(job_id):
        ref = parse_model_ref(name)
        is_checkpoint = ref.kind == "job" and ref.step is not None
        if not is_checkpoint and not (ref.kind == "model" and ref.id not in ids):
            return f"Job {user!r} needs it. Delete that job first."
    return None
