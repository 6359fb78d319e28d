"""From the record to what the data worker is asked."""

from cluster.data.requests import BaseRef, PrepareRequest, SourceFile
from cluster.runs.make_plan import dataset_rows, model_location
from ftlab.model_ref import parse_model_ref
from ftlab.schemas import JobConfig
from ftlab.settings import Settings
from tracking.store import Transaction
from tracking.store.records import DatasetRecord


def source_file(settings: Settings, dataset: DatasetRecord) -> SourceFile:
    return SourceFile(dataset.id, dataset.bucket, dataset.canonical, dataset_rows(settings, dataset), dataset.num_rows)


def base_ref(tx: Transaction, settings: Settings, model: str, pinned_revision: str | None = None) -> BaseRef:
    """`model` is a reference as in a job's config. Raises `NotFoundError` when nothing is there."""
    location = model_location(tx, settings, parse_model_ref(model))
    return BaseRef(location, settings.home / "models", pinned_revision)


def prepare_request(
    tx: Transaction, settings: Settings, config: JobConfig, pinned_revision: str | None
) -> PrepareRequest:
    """What a job needs to be prepared. Raises `NotFoundError` when a dataset or the base model is gone."""
    files = tuple(source_file(settings, tx.datasets.get(dataset_id)) for dataset_id in config.datasets)
    eval_file = source_file(settings, tx.datasets.get(config.eval_dataset)) if config.eval_dataset else None
    return PrepareRequest(base_ref(tx, settings, config.model, pinned_revision), config.method, files, eval_file)
