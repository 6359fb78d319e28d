"""Calls to MLflow, each safe to repeat. Only this module imports MLflow, which takes seconds and 150 MB."""

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path

from ftlab.errors import FineTuneLabError, ServiceUnavailableError
from ftlab.lean_imports import hidden
from tracking.mlflow_record.mapping import JOB_TAG, DatasetInput, Point, to_ms
from tracking.mlflow_record.server import CLIENT_ENVIRONMENT

for _name, _value in CLIENT_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)  # MLflow reads some of them at import

import requests  # noqa: E402

# It looks for them to log tables and signatures of models, which nothing here does: two seconds, and half its memory.
with hidden("numpy", "pandas", "pyarrow", "scipy"):
    from mlflow import MlflowClient
    from mlflow import entities as mlflow_entities
    from mlflow.exceptions import MlflowException, RestException

EXPERIMENT = "finetune-lab"
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "Every job of FineTune Lab is one run, and so is every sweep, above the runs of its trials.",
}
"""The kind makes MLflow open the experiment in its mode for model training, not for traces of LLM applications."""
MAX_METRICS_PER_BATCH = 1000
MAX_PARAMS_PER_BATCH = 100
PERMANENT_CODES = frozenset({"INVALID_PARAMETER_VALUE", "INVALID_STATE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"})
"""Errors that every repetition of the request would get again."""


class MlflowUnreachableError(ServiceUnavailableError):
    """MLflow does not answer, or not in time."""

    default_code = "mlflow_unreachable"


class MlflowRefusedError(FineTuneLabError):
    """MLflow answered a request with an error; `code` is MLflow's error code."""

    default_code = "INTERNAL_ERROR"

    @property
    def is_permanent(self) -> bool:
        return self.code in PERMANENT_CODES


class RunState(StrEnum):
    ACTIVE = "active"
    DELETED = "deleted"
    """In MLflow's trash: a user deleted it."""
    MISSING = "missing"
    """Unknown to the server: its database was lost or replaced, or its trash was emptied."""


@dataclass(frozen=True)
class RunKey:
    """A run, and the experiment that it belongs to; both ids are in the address of its page."""

    experiment_id: str
    run_id: str


class MlflowApi:
    """Client of one MLflow server. Every method is safe to repeat, also after it raised an error of this module."""

    def __init__(self, tracking_uri: str) -> None:
        self._client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)

    def ensure_run(
        self, record_id: str, *, name: str, started_at: datetime, tags: Mapping[str, str], id_tag: str = JOB_TAG
    ) -> RunKey:
        """The run of a record, which is created unless a run with its id in the tag `id_tag` exists.

        MLflow cannot change the start time of a run later.
        """
        with _translated():
            experiment_id = self._ensure_experiment()
            runs = self._runs_of(experiment_id, id_tag, record_id)
            if not runs:
                self._client.create_run(experiment_id, start_time=to_ms(started_at), tags=dict(tags), run_name=name)
                # An earlier request that timed out may have created one by now.
                runs = self._runs_of(experiment_id, id_tag, record_id)
            active = [run for run in runs if run.info.lifecycle_stage == RunState.ACTIVE]
            kept, *others = sorted(run.info.run_id for run in active or runs)
            for run_id in others if active else ():
                self._client.delete_run(run_id)
            return RunKey(experiment_id, str(kept))

    def run_state(self, run_id: str) -> RunState:
        with _translated():
            try:
                return RunState(self._client.get_run(run_id).info.lifecycle_stage)
            except RestException as error:
                # Only MLflow's error code counts: another server on this port may answer 404 as well.
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return RunState.MISSING
                raise

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        items = [mlflow_entities.Param(key, value) for key, value in params.items()]
        with _translated():
            for part in _parts(items, MAX_PARAMS_PER_BATCH):
                self._client.log_batch(run_id, params=part)

    def log_datasets(self, run_id: str, inputs: Sequence[DatasetInput]) -> None:
        with _translated():
            self._client.log_inputs(run_id, [_dataset_input(item) for item in inputs])

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Add points. MLflow ignores points that equal existing ones in key, time, step and value."""
        items = [mlflow_entities.Metric(p.key, p.value, p.timestamp_ms, p.step) for p in points]
        with _translated():
            for part in _parts(items, MAX_METRICS_PER_BATCH):
                self._client.log_batch(run_id, metrics=part)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        with _translated():
            self._client.log_batch(run_id, tags=[mlflow_entities.RunTag(*item) for item in tags.items()])

    def set_status(self, run_id: str, status: str) -> None:
        with _translated():
            self._client.update_run(run_id, status=status)

    def end(self, run_id: str, status: str, ended_at: datetime) -> None:
        with _translated():
            self._client.set_terminated(run_id, status=status, end_time=to_ms(ended_at))

    def upload(self, run_id: str, file: Path, folder: str) -> None:
        """Upload `file` to the run's artifact `folder`, replacing an artifact of that name."""
        with _translated():
            self._client.log_artifact(run_id, str(file), folder)

    def upload_text(self, run_id: str, text: str, path: str) -> None:
        with _translated():
            self._client.log_text(run_id, text, path)

    def has_artifact(self, run_id: str, folder: str, name: str) -> bool:
        """Whether the run's artifact `folder` contains the file `name`."""
        with _translated():
            return any(entry.path == f"{folder}/{name}" for entry in self._client.list_artifacts(run_id, folder))

    def has_model(self, name: str, run_id: str, folder: str) -> bool:
        """Whether the registered model `name` has a version with the run's `folder`."""
        with _translated():
            return self._find_version(name, run_id, folder) is not None

    def register_model(
        self, name: str, run_id: str, folder: str, *, alias: str, tags: Mapping[str, str], note: str
    ) -> str:
        """Register the run's `folder` as a version of the model `name`, with an alias, and return the version.

        `note` is the version's description.
        """
        with _translated():
            self._ensure_registered_model(name)
            version = self._find_version(name, run_id, folder)
            if version is None:
                source = f"runs:/{run_id}/{folder}"
                made = self._client.create_model_version(
                    name, source, run_id, tags=dict(tags), description=note, await_creation_for=0
                )
                version = made.version
            self._client.set_registered_model_alias(name, alias, str(version))
            return str(version)

    def _find_version(self, name: str, run_id: str, folder: str) -> str | None:
        known = self._client.search_model_versions(f"run_id = '{run_id}'")
        source = f"runs:/{run_id}/{folder}"
        return next((str(entry.version) for entry in known if (entry.name, entry.source) == (name, source)), None)

    def _runs_of(self, experiment_id: str, id_tag: str, record_id: str) -> list[mlflow_entities.Run]:
        tag_is_id = f"tags.`{id_tag}` = '{record_id}'"
        return list(self._client.search_runs([experiment_id], tag_is_id, mlflow_entities.ViewType.ALL))

    def _ensure_experiment(self) -> str:
        """The id of the experiment. A deleted one stays in the trash; the next free number replaces it."""
        for number in itertools.count(1):
            name = EXPERIMENT if number == 1 else f"{EXPERIMENT}-{number}"
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                return str(self._client.create_experiment(name, tags=EXPERIMENT_TAGS))
            if experiment.lifecycle_stage == mlflow_entities.LifecycleStage.ACTIVE:
                return str(experiment.experiment_id)
        raise AssertionError("unreachable")

    def _ensure_registered_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except RestException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _dataset_input(item: DatasetInput) -> mlflow_entities.DatasetInput:
    dataset = mlflow_entities.Dataset(
        name=item.name,
        digest=item.digest,
        source_type="ftlab",
        source=item.source,
        profile=json.dumps({"num_rows": item.num_rows}),
    )
    return mlflow_entities.DatasetInput(dataset, [mlflow_entities.InputTag("mlflow.data.context", item.context)])


def _parts(items: list[object], size: int) -> Iterator[list[object]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        # MLflow wraps transport errors without a code; only the chained exception has the type.
        cause = error.__cause__ or error.__context__
        if isinstance(cause, requests.ConnectionError | requests.Timeout):
            raise MlflowUnreachableError("MLflow does not answer.") from error
        raise MlflowRefusedError(str(error), error.error_code) from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise MlflowUnreachableError("MLflow does not answer.") from error
    except requests.HTTPError as error:
        is_bad = error.response is not None and error.response.status_code == HTTPStatus.BAD_REQUEST
        code = "BAD_REQUEST" if is_bad else None
        raise MlflowRefusedError(f"MLflow refused an artifact: {error}", code) from error
