"""Exports: how they are submitted, and what they wrote. Every function that is not a route blocks on the store."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

from fastapi import APIRouter
from starlette.responses import Response

from cluster.runs.model_location import job_folder
from ftlab.errors import ConflictError, FineTuneLabError, InvalidRequestError, NotFoundError
from ftlab.manifest import read_manifest
from ftlab.model_ref import ModelRef, parse_model_ref
from ftlab.schemas import ExportConfig, SftMethod
from ftlab.schemas.export import GgufKType
from ftlab.schemas.export_results import ARTIFACTS_FOLDER, RECEIPT_FILE, Artifact, Export, Receipt
from ftlab.schemas.replies import ExportList
from ftlab.settings import Settings
from ftlab.status import JobKind
from serve.context import Caller, CallerContext, Services
from serve.http.json_body import JsonRoute
from serve.http.query import JobId, RecordId
from serve.http.responses import reply
from serve.jobs.submission.preflight import check_max_cost
from serve.jobs.submission.submit import NewJob, ResolvedSubmission, Submission, check_size
from serve.models.base_model import Tuned, find_tuned
from tracking.store import Transaction
from tracking.store.records import JobRecord
from train.checkpoints.checkpoint_files import GONE
from train.export.exportable import check_model_type, no_adapter, no_quantizer
from train.model.files import CONFIG
from train.model.folder import adapter_size
from train.model.reward_head import check_files, no_language_model
from train.model.tuned_start import base_folder

router = APIRouter(prefix="/api/training/jobs", tags=["jobs"], route_class=JsonRoute)


@router.get("/{job_id}/exports", response_model=ExportList, summary="List exports with their artifacts, newest first")
async def get_exports(caller: Caller, job_id: JobId) -> Response:
    """Of a training job: the exports of its models. Of an export: the export itself."""
    return reply(await caller.call(exports_of, job_id))


@router.delete("/{job_id}/exports/{artifact}", status_code=204, summary="Delete an artifact of an export")
async def delete_artifact(caller: Caller, job_id: RecordId, artifact: str) -> Response:
    """The export and its other artifacts stay. The reply is sent after the files are removed."""
    await caller.call(remove_artifact, job_id, artifact)
    return Response(status_code=204)


async def resolve_export(caller: CallerContext, submission: Submission) -> ResolvedSubmission:
    """Check the job.

    Raises what `find_tuned` raises for the model, and `InvalidRequestError` for one that cannot be exported in the
    formats (`unsupported_model`, `invalid_config` for a reward model).
    """
    return await caller.call(_resolve, submission)


def exports_of(services: Services, owner: str, job: str) -> ExportList:
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        records = [record] if record.kind is JobKind.EXPORT else tx.jobs.readers_of(record.id, JobKind.EXPORT)
    return ExportList(data=[_describe(services.settings, each) for each in records])


def artifact_folder(services: Services, owner: str, job: str, artifact: str) -> tuple[JobRecord, Path]:
    """The folder of an artifact. Raise `NotFoundError` (`artifact_not_found`) where there is none of this name."""
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
    folder = _artifacts_folder(services.settings, record)
    names = [each.name for each in _artifacts(folder)] if record.kind is JobKind.EXPORT else []
    if artifact not in names:
        raise _no_artifact(record, names)
    return record, folder / artifact


def remove_artifact(services: Services, owner: str, job: str, artifact: str) -> None:
    """Delete an artifact with its files.

    Raise `NotFoundError`, and `ConflictError` (`job_not_ended`) for an export that has not ended: it would write the
    artifact again.
    """
    record, folder = artifact_folder(services, owner, job, artifact)
    if not record.status.is_terminal:
        raise ConflictError(
            f"Export {record.id!r} is {record.status}. Cancel it, or wait until it ends.", "job_not_ended", "job_id"
        )
    try:
        folder.rename(folder.with_name(f"{GONE}{artifact}"))
    except FileNotFoundError:
        raise _no_artifact(record, []) from None
    for gone in folder.parent.glob(f"{GONE}*"):  # also what a killed process left
        shutil.rmtree(gone, ignore_errors=True)


def _no_artifact(record: JobRecord, names: list[str]) -> NotFoundError:
    known = f"it has {', '.join(names)}" if names else "it has none"
    return NotFoundError(f"Job {record.id!r} has no artifact of this name; {known}.", "artifact_not_found", "artifact")


def _resolve(services: Services, owner: str, submission: Submission) -> ResolvedSubmission:
    config = submission.config
    assert isinstance(config, ExportConfig)
    check_size(services, config.resources)
    check_max_cost(services, config)
    if "gguf" in config.formats and config.gguf_type in get_args(GgufKType) and not services.settings.llama_quantize:
        raise no_quantizer()
    expected = submission.parents.expected.get(config.model)
    if expected is not None and expected.scores_texts:
        raise no_language_model(SftMethod(), "model")

    def complete(tx: Transaction) -> NewJob:
        formats = " and ".join(config.formats)
        if expected is not None:
            resolved = config.model_copy(update={"model": expected.parent.model})
            return NewJob(resolved, f"{expected.parent.name} as {formats}", source_job_ids=(expected.parent.id,))
        tuned = _check(tx, services.settings, owner, config)
        resolved = config.model_copy(update={"model": str(_pinned(tx, tuned.ref))})
        name = f"{tuned.name} as {formats}"
        return NewJob(resolved, name, source_job_ids=(tuned.job_id,), model_revision=tuned.base_revision)

    return ResolvedSubmission(submission, lambda: complete)


def _check(tx: Transaction, settings: Settings, owner: str, config: ExportConfig) -> Tuned:
    tuned = find_tuned(parse_model_ref(config.model), tx, settings, owner)
    if tuned is None:
        raise InvalidRequestError(
            "model must be a model that this service trained: 'job:ID', 'job:ID/step-N' or 'model:ID'.",
            "invalid_model_id",
            "model",
        )
    try:
        check_files(SftMethod(), tuned.folder)
    except FineTuneLabError:
        raise InvalidRequestError(
            "The model is a reward model, and only language models are exported.", "unsupported_model", "model"
        ) from None
    if "adapter" in config.formats and adapter_size(tuned.folder) is None:
        raise no_adapter()
    if "gguf" in config.formats and (model_type := _model_type(tuned, settings)) is not None:
        check_model_type(model_type)
    return tuned


def _model_type(tuned: Tuned, settings: Settings) -> str | None:
    """`model_type` of a tuned model or its base model; `None` where that is not in a folder of this machine."""
    folder = base_folder(tuned.folder, tuned.local_base, settings.home / "models")
    try:
        model_type = json.loads((folder / CONFIG).read_bytes()).get("model_type")
    except (OSError, ValueError):
        return None
    return model_type if isinstance(model_type, str) else None


def _pinned(tx: Transaction, ref: ModelRef) -> ModelRef:
    """The same model as a reference that means no other one later, when the job has delivered again."""
    if ref.kind != "job" or ref.step is not None:
        return ref
    if (model := tx.models.of_job(ref.id)) is not None:
        return ModelRef("model", model.id)
    return replace(ref, step=tx.checkpoints.of_job(ref.id)[0].step)


def _describe(settings: Settings, record: JobRecord) -> Export:
    config = record.config
    return Export(
        job_id=record.id,
        name=record.name,
        status=record.status,
        message=record.message,
        model=config.model if isinstance(config, ExportConfig) else "",
        created_at=record.created_at,
        artifacts=_artifacts(_artifacts_folder(settings, record)),
    )


def _artifacts_folder(settings: Settings, record: JobRecord) -> Path:
    return job_folder(settings, record.id) / ARTIFACTS_FOLDER


def _artifacts(folder: Path) -> list[Artifact]:
    """The artifacts that passed their comparison. Those that are being written have other names."""
    found = []
    for path in sorted(folder.glob("[!.]*")):
        try:
            manifest = read_manifest(path)
            receipt = Receipt.model_validate_json((path / RECEIPT_FILE).read_bytes())
        except (OSError, ValueError):
            continue  # it is being removed
        if receipt.is_good:
            artifact = Artifact(
                name=path.name,
                format=receipt.format,
                weight_type=receipt.weight_type,
                size_bytes=manifest.size_bytes,
                num_files=len(manifest.files),
                committed_at=manifest.committed_at,
                receipt=receipt,
            )
            found.append(artifact)
    return found
