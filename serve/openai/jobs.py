"""Create, list, get and change fine-tuning jobs of `/v1`. Every function but `create` blocks on the store."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from starlette.requests import ClientDisconnect, Request

from ftlab.errors import FineTuneLabError, InvalidRequestError, NotFoundError
from ftlab.status import JobKind
from serve.context import Caller, Services
from serve.http.json_body import canonical
from serve.http.problems import unknown_parameter
from serve.http.query import OWNER
from serve.jobs import routes as own_jobs
from serve.jobs.submission.submit import Submission
from serve.openai.graders import item_of
from serve.openai.ids import dataset_id, job_id
from serve.openai.job_config import GRADER, requested_method, to_config
from serve.openai.job_views import fine_tuning_job, to_jobs
from serve.openai.names import own_reference
from serve.openai.objects import OpenAiJob, OpenAiList, page
from serve.openai.requests import CreateJob
from tracking.store import Transaction
from tracking.store.openai_jobs import OpenAiJobRecord, has_metadata, has_no_metadata
from tracking.store.records import JobRecord

RETRY_HEADER = "x-stainless-retry-count"
"""OpenAI's clients count in it how often they have sent the request before."""
RETRY_WINDOW = timedelta(minutes=30)
"""How long after a job was made a repeated request finds it; the client waits ten minutes for a reply."""
NO_METADATA = "null"
_FILES = {"dataset": "training_file", "eval_dataset": "validation_file"}
"""Fields of a job's config, and what they are called here."""
_METADATA = re.compile(r"metadata\[([^\]]*)\]")


async def create(caller: Caller, request: Request, body: CreateJob, key: str | None) -> OpenAiJob:
    """Make the job durable, or find the one that an earlier try of the same request made.

    OpenAI's clients send no idempotency key. They do say when a request is a repetition; its job is looked up by the
    owner and the body. Raises what a submission raises, in the words of this API.
    """
    raw = await request.body()
    sha256 = hashlib.sha256(canonical(raw)).hexdigest()
    is_repeated = request.headers.get(RETRY_HEADER, "0").strip() not in ("", "0")
    if key is None and is_repeated and (found := await caller.call(_made_before, sha256)) is not None:
        return found

    async def client_is_there() -> None:
        if await request.is_disconnected():
            raise ClientDisconnect  # it will ask again, or has given up: a job would be one too many

    try:
        submission = await caller.call(_submission, body, raw, key, sha256)
        made = await own_jobs.submit_job(caller, submission, client_is_there)
    except FineTuneLabError as error:
        raise _about_files(error) from None
    return await caller.call(get, made.job.id)


def get(services: Services, owner: str, job: str) -> OpenAiJob:
    """The job with our id. Raises `NotFoundError`."""
    with services.store.read() as tx:
        return to_jobs(services.settings, tx, [fine_tuning_job(tx, owner, job)])[0]


def known(services: Services, owner: str, job: str) -> str:
    """The id, if there is such a job. Raises `NotFoundError`."""
    with services.store.read() as tx:
        return fine_tuning_job(tx, owner, job).id


def list_jobs(
    services: Services, owner: str, after: str | None, limit: int, metadata: Mapping[str, str] | None
) -> OpenAiList[OpenAiJob]:
    """One page, newest first, of all jobs, of those with these metadata, or (`{}`) of those without any."""
    conditions = [] if metadata is None else has_metadata(metadata) or [has_no_metadata()]
    with services.store.read() as tx:
        cursor = after and job_id(after)
        found = tx.jobs.list(
            owner=owner, kinds={JobKind.TRAINING}, after=cursor, limit=limit + 1, conditions=conditions
        )
        return page(to_jobs(services.settings, tx, found[:limit]), has_more=len(found) > limit)


def metadata_filter(request: Request) -> dict[str, str] | None:
    """The pairs of `metadata[k]=v` in the query; `{}` for `metadata=null`, `None` without a filter.

    Raise `InvalidRequestError` for other parameters than those of the list.
    """
    pairs: dict[str, str] = {}
    wants_none = False
    for name, value in request.query_params.multi_items():
        if match := _METADATA.fullmatch(name):
            pairs[match[1]] = value
        elif name == "metadata" and value == NO_METADATA:
            wants_none = True
        elif name == "metadata":
            message = "metadata must be 'null', for jobs without metadata; write a pair as metadata[KEY]=VALUE."
            raise InvalidRequestError(message, "invalid_parameter", "metadata")
        elif name not in ("after", "limit", OWNER):
            raise unknown_parameter(name, ("after", "limit", "metadata"))
    if wants_none and pairs:
        message = "metadata=null and metadata[...] cannot be combined; give one of them."
        raise InvalidRequestError(message, "invalid_parameter", "metadata")
    return pairs if pairs or wants_none else None


def _made_before(services: Services, owner: str, sha256: str) -> OpenAiJob | None:
    with services.store.read() as tx:
        found = tx.openai_jobs.newest_with_body(owner, sha256, datetime.now(UTC) - RETRY_WINDOW)
    return get(services, owner, found) if found else None


def _submission(
    services: Services, owner: str, body: CreateJob, raw: bytes, key: str | None, sha256: str
) -> Submission:
    model = own_reference(services, owner, body.model)
    held_out = body.validation_file
    config = to_config(body, model, _dataset(body.training_file), held_out and _dataset(held_out))
    method = requested_method(body)
    if method.grader is not None:
        _check_item(services, owner, item_of(method.grader, GRADER), config.datasets[0])
    else:
        _check_answers(services, owner, body)

    def note(tx: Transaction, job: JobRecord) -> None:
        made = OpenAiJobRecord(
            job_id=job.id,
            owner=owner,
            model=body.model,
            suffix=body.suffix,
            method=method.document,
            body_sha256=sha256,
            created_at=job.created_at,
            metadata=body.metadata or {},
        )
        tx.openai_jobs.add(made)

    return Submission(config, raw, key, on_add=note)


def _check_item(services: Services, owner: str, item: str | None, dataset: str) -> None:
    """Raise `InvalidRequestError` unless the rows have the field that a grader reads as their reference answer."""
    if item is None:
        return
    with services.store.read() as tx:
        mapping = tx.datasets.resolve(dataset, owner=owner).column_mapping or {}
    found = mapping.get("columns", {}).get("completion")
    if found == item:
        return
    has = f"is '{found}'" if found else "is missing: rows need messages that end with the user, and one other text"
    raise InvalidRequestError(
        f"The grader compares with item.{item}, and the reference answer of the training file {has}.",
        "unsupported_grader",
        GRADER,
    )


def _check_answers(services: Services, owner: str, body: CreateJob) -> None:
    """Raise `InvalidRequestError` for files whose messages end with the user.

    As they were uploaded, a text beside the messages was taken for the reference answer of a grader; without a grader,
    it would be trained as the answer, whatever it is.
    """
    for field, file in (("training_file", body.training_file), ("validation_file", body.validation_file)):
        if file is None or not file.startswith("file-"):
            continue
        with services.store.read() as tx:
            columns = (tx.datasets.resolve(dataset_id(file), owner=owner).column_mapping or {}).get("columns", {})
        if columns.get("prompt") == "messages":
            raise InvalidRequestError(
                f"The messages in {field} end with the user, so there is no answer to train on; let them end with the "
                "assistant, or use the method 'reinforcement'.",
                "dataset_kind_mismatch",
                field,
            )


def _dataset(file: str) -> str:
    """The dataset of a file; also an id or name of a dataset, which `file-...` never is."""
    return dataset_id(file) if file.startswith("file-") else file


def _about_files(error: FineTuneLabError) -> FineTuneLabError:
    """The error with the names that the request has for the files of a job."""
    param = _FILES.get(error.param or "", error.param)
    if isinstance(error, NotFoundError) and error.code in ("dataset_not_found", "file_not_found"):
        which = param if param in _FILES.values() else "training_file"
        message = f"{which} names a file that does not exist; upload it with purpose 'fine-tune' first."
        return InvalidRequestError(message, "file_not_found", which)
    if isinstance(error, NotFoundError) and error.code == "model_not_found":
        return InvalidRequestError(error.message, error.code, "model")
    if param == error.param or not isinstance(error, InvalidRequestError):
        return error
    message = error.message.replace(str(error.param), str(param), 1)
    return InvalidRequestError(message, error.code, param)
