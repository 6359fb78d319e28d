"""Pin, unpin and delete checkpoints, one by one or by a rule. Every function blocks on the store and the disk.

A checkpoint that something still needs is never deleted. Its row says that it is being deleted before its files go, so
that a killed process leaves no record of files that are missing.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cluster.machine.deleted_checkpoints import remove_checkpoint
from cluster.runs.model_location import job_folder
from ftlab.errors import ConflictError, NotFoundError
from ftlab.model_ref import parse_model_ref
from ftlab.schemas import Checkpoint
from ftlab.schemas.replies import CheckpointPrune, KeptCheckpoint
from ftlab.schemas.requests import CheckpointRule
from ftlab.status import LIVE_STATUSES
from serve.context import Services
from serve.jobs.checkpoints.choice import name_of
from tracking.store import Transaction
from tracking.store.records import CheckpointRecord, JobRecord
from train.checkpoints import checkpoint_files


def set_pinned(services: Services, owner: str, job: str, name: str, is_pinned: bool) -> Checkpoint:
    """Pin or unpin a checkpoint.

    Raise `NotFoundError`, and `ConflictError` (code `checkpoint_in_use`) for one that the job's resume is about to
    remove.
    """
    with services.store.begin() as tx:
        record, checkpoint = _locked(tx, owner, job, name)
        if is_pinned:
            _check_resume(tx, record, checkpoint)
            _pin(_path(services, checkpoint))
        tx.checkpoints.set_pinned(record.id, checkpoint.step, is_pinned)
    if not is_pinned:
        _unpin(services, checkpoint)
    with services.store.read() as tx:
        return Checkpoint.of(tx.checkpoints.get(record.id, checkpoint.name))


def delete(services: Services, owner: str, job: str, name: str) -> None:
    """Delete one checkpoint with its files.

    Raise `NotFoundError`, and `ConflictError` (code `checkpoint_pinned` or `checkpoint_in_use`) for one that stays.
    """
    with services.store.begin() as tx:
        record, checkpoint = _locked(tx, owner, job, name)
        if checkpoint.is_pinned:
            raise ConflictError(
                f"Checkpoint {checkpoint.name} is pinned. Unpin it first.", "checkpoint_pinned", "checkpoint"
            )
        if reason := why_needed(tx, record, checkpoint, tx.checkpoints.of_job(record.id)):
            raise ConflictError(reason, "checkpoint_in_use", "checkpoint")
        tx.checkpoints.mark_deleting(record.id, checkpoint.step, now=datetime.now(UTC))
    remove_checkpoint(services.store, services.settings, checkpoint)


def prune(services: Services, owner: str, rule: CheckpointRule) -> CheckpointPrune:
    """Delete the checkpoints that a rule names, or in a dry run only list them. Raise `NotFoundError` for a job."""
    with services.store.read() as tx:
        named = [tx.jobs.resolve(job, owner=owner, by_prefix=False).id for job in rule.jobs]
        job_ids = list(dict.fromkeys(named)) if rule.jobs else tx.checkpoints.jobs_of_owner(owner)
    gone: list[CheckpointRecord] = []
    kept: list[KeptCheckpoint] = []
    for job_id in job_ids:
        with services.store.begin() as tx:
            tx.checkpoints.lock(job_id)
            found, stay = _matching(tx, tx.jobs.get(job_id), rule)
            if not rule.dry_run:
                for checkpoint in found:
                    tx.checkpoints.mark_deleting(job_id, checkpoint.step, now=datetime.now(UTC))
        if not rule.dry_run:
            for checkpoint in found:
                remove_checkpoint(services.store, services.settings, checkpoint)
        gone += found
        kept += stay
    return CheckpointPrune(
        dry_run=rule.dry_run,
        data=[Checkpoint.of(checkpoint) for checkpoint in gone],
        size_bytes=sum(checkpoint.size_bytes for checkpoint in gone),
        kept=kept,
    )


def why_needed(
    tx: Transaction, job: JobRecord, checkpoint: CheckpointRecord, all_of_job: Sequence[CheckpointRecord]
) -> str | None:
    """Why a checkpoint cannot be deleted, in a sentence; `None` where nothing needs it."""
    name = checkpoint.name
    if job.status in LIVE_STATUSES:
        return f"Job {job.id!r} is {job.status.value}, and its run manages its checkpoints. Pause it, or wait."
    if checkpoint.step == max(each.step for each in all_of_job):
        return f"{name} is the newest checkpoint of job {job.id!r}, from which it continues. It goes with the job."
    if job.resume_from == name:
        return f"Job {job.id!r} is about to resume from {name}."
    if checkpoint.is_best and not job.status.is_terminal:
        return f"{name} is the best checkpoint so far of job {job.id!r}, which has not ended and may deliver it."
    if user := _user_of(tx, job, checkpoint):
        return f"Job {user!r} needs {name} of job {job.id!r}. Delete that job first."
    return None


def _matching(
    tx: Transaction, job: JobRecord, rule: CheckpointRule
) -> tuple[list[CheckpointRecord], list[KeptCheckpoint]]:
    """The checkpoints of a job to delete, and those that are old enough and stay."""
    oldest = datetime.now(UTC) - timedelta(days=rule.older_than_days)
    found = tx.checkpoints.of_job(job.id)
    gone, kept = [], []
    for checkpoint in found:
        if checkpoint.created_at > oldest:
            continue
        reason = "It is pinned." if checkpoint.is_pinned else why_needed(tx, job, checkpoint, found)
        if reason is None and rule.keep_best and checkpoint.is_best:
            reason = "It is the best checkpoint of its job."
        if reason is None:
            gone.append(checkpoint)
        else:
            kept.append(KeptCheckpoint(job_id=job.id, name=checkpoint.name, reason=reason))
    return gone, kept


def _user_of(tx: Transaction, job: JobRecord, checkpoint: CheckpointRecord) -> str | None:
    """A job that starts from this checkpoint or evaluates it, or may start from it: its adapter names it as base."""
    has_model = tx.models.of_job(job.id) is not None
    for user, model in tx.checkpoints.users_of(job.id):
        if not model.startswith("job:"):
            continue
        step = parse_model_ref(model).step
        if step == checkpoint.step or (step is None and not has_model):
            return user
    return None


def _locked(tx: Transaction, owner: str, job: str, name: str) -> tuple[JobRecord, CheckpointRecord]:
    """The job and its checkpoint; no run and no other job takes the checkpoint until the transaction ends."""
    job_id = tx.jobs.resolve(job, owner=owner, by_prefix=False).id
    tx.checkpoints.lock(job_id)
    return tx.jobs.get(job_id), tx.checkpoints.get(job_id, name_of(name))


def _check_resume(tx: Transaction, job: JobRecord, checkpoint: CheckpointRecord) -> None:
    if job.resume_from is None or checkpoint.step <= tx.checkpoints.get(job.id, job.resume_from).step:
        return
    raise ConflictError(
        f"Job {job.id!r} is about to resume from {job.resume_from}, which removes {checkpoint.name}.",
        "checkpoint_in_use",
        "checkpoint",
    )


def _path(services: Services, checkpoint: CheckpointRecord) -> Path:
    return job_folder(services.settings, checkpoint.job_id) / "checkpoints" / checkpoint.name


def _pin(path: Path) -> None:
    try:
        checkpoint_files.pin(path)
    except FileNotFoundError:
        raise NotFoundError(f"Checkpoint {path.name} no longer exists.", "checkpoint_not_found", "checkpoint") from None


def _unpin(services: Services, checkpoint: CheckpointRecord) -> None:
    """Take the mark off the files, after the record: a crash in between keeps the files rather than losing them."""
    with services.store.begin() as tx:
        tx.checkpoints.lock(checkpoint.job_id)
        if not tx.checkpoints.get(checkpoint.job_id, checkpoint.name).is_pinned:
            checkpoint_files.unpin(_path(services, checkpoint))
