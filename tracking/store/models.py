"""Tuned models, which completed jobs deliver."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update
from sqlalchemy.exc import IntegrityError

from tracking.store.errors import DuplicateError
from tracking.store.naming import find_key, not_found
from tracking.store.paging import newest_first
from tracking.store.records import ModelRecord
from tracking.store.rows import columns_of, models

COLUMNS = columns_of(models, ModelRecord)

ModelRecords = list[ModelRecord]


class ModelRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, record: ModelRecord) -> None:
        """Raise `DuplicateError` when there is a model with this id."""
        try:
            self._connection.execute(insert(models), {**vars(record), "path": str(record.path)})
        except IntegrityError as error:
            raise DuplicateError(f"Model {record.id!r} already exists.") from error

    def get(self, model_id: str, *, owner: str | None = None) -> ModelRecord:
        """Raise `NotFoundError` when there is no such model, or it is another owner's."""
        statement = select(*COLUMNS).where(models.c.id == model_id)
        if owner is not None:
            statement = statement.where(models.c.owner == owner)
        found = self._records(statement)
        if not found:
            raise not_found("model", model_id)
        return found[0]

    def resolve(self, text: str, *, owner: str) -> ModelRecord:
        """Find a model by its id, else by its name.

        Raises `NotFoundError`, or `ConflictError` (code `ambiguous`) when several models have this name.
        """
        number = find_key(self._connection, models, models.c.seq, text, owner=owner, kind="model")
        return self._records(select(*COLUMNS).where(models.c.seq == number))[0]

    def list(self, *, owner: str, after: str | None = None, limit: int = 20) -> ModelRecords:
        """One page, newest first. `after` is the id of the last model of the page before."""
        return self._records(
            newest_first(
                self._connection,
                select(*COLUMNS),
                models,
                models.c.seq,
                owner=owner,
                after=after,
                limit=limit,
            )
        )

    def of_job(self, job_id: str) -> ModelRecord | None:
        """The job's newest model."""
        mine = select(*COLUMNS).where(models.c.job_id == job_id)
        found = self._records(mine.order_by(models.c.seq.desc()).limit(1))
        return found[0] if found else None

    def all_of_job(self, job_id: str) -> ModelRecords:
        """All models of the job, one for each completion, oldest first."""
        return self._records(select(*COLUMNS).where(models.c.job_id == job_id).order_by(models.c.seq))

    def set_pinned(self, model_id: str, is_pinned: bool) -> None:
        self._connection.execute(update(models).where(models.c.id == model_id).values(is_pinned=is_pinned))

    def set_mlflow_version(self, model_id: str, version: str) -> None:
        self._connection.execute(update(models).where(models.c.id == model_id).values(mlflow_version=version))

    def _records(self, statement: Select[Any]) -> ModelRecords:
        return [_to_record(row) for row in self._connection.execute(statement)]


def _to_record(row: Row[Any]) -> ModelRecord:
    values = row._asdict()
    return ModelRecord(**{**values, "path": Path(values["path"])})
