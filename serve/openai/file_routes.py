"""`/v1/files` and `/v1/uploads`: the files that jobs train on, and the results of jobs."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from anyio import CancelScope
from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ftlab.settings import DEFAULT_BUCKET
from serve.context import Caller
from serve.datasets import service, upload_sessions
from serve.datasets.options import DatasetOptions
from serve.datasets.receive import Upload, receive
from serve.datasets.routes import content_response, uploaded
from serve.datasets.upload_routes import completed
from serve.http.json_body import JsonBody
from serve.http.multipart import MultipartFile
from serve.http.openapi import PART
from serve.http.responses import in_thread, reply
from serve.openai import files, results, uploads
from serve.openai.files import FORM_TEXTS, check_form, read_options, to_file
from serve.openai.ids import dataset_id, job_of_result, upload_id
from serve.openai.objects import OpenAiDeleted, OpenAiFile, OpenAiList, OpenAiUpload, OpenAiUploadPart
from serve.openai.route import After, strict_router
from serve.openai.uploads import CompleteUpload, CreateUpload

router = strict_router("/v1")

FileId = Annotated[str, Path(max_length=100, description="`file-...`")]
UploadId = Annotated[str, Path(max_length=100, description="`upload_...`")]


def _form(**fields: dict[str, Any]) -> dict[str, Any]:
    """`openapi_extra` of a form, which FastAPI cannot derive."""
    schema = {"type": "object", "required": list(fields), "properties": fields}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


FILE_FORM = _form(purpose={"type": "string", "enum": ["fine-tune"]}, file={"type": "string", "format": "binary"})
PART_FORM = _form(data={"type": "string", "format": "binary"})


@router.post("/files", response_model=OpenAiFile, openapi_extra=FILE_FORM, summary="Upload a file")
async def create_file(request: Request, caller: Caller) -> Response:
    """The file becomes a dataset. Rows that cannot be trained on are refused at once, with their lines."""
    form = MultipartFile(request.headers.get("content-type", ""), texts=FORM_TEXTS)
    options = DatasetOptions(DEFAULT_BUCKET)

    def choose(upload: Upload) -> DatasetOptions:
        check_form(form.texts)
        return replace(options, **read_options(upload.path).model_dump(exclude_none=True))

    return reply(to_file(await uploaded(request, caller, options, form, choose)))


@router.get("/files", response_model=OpenAiList[OpenAiFile], summary="List files")
async def list_files(
    caller: Caller,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    purpose: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Uploaded files, and with `purpose=fine-tune-results` the results of jobs."""
    if purpose not in (None, files.PURPOSE, results.PURPOSE):
        return reply(OpenAiList[OpenAiFile](data=[], has_more=False))
    if purpose == results.PURPOSE:
        return reply(await caller.call(results.list_files, after, limit, oldest_first=order == "asc"))
    return reply(await caller.call(files.list_files, after, limit, oldest_first=order == "asc"))


@router.get("/files/{file_id}", response_model=OpenAiFile, summary="Get a file")
async def get_file(caller: Caller, file_id: FileId) -> Response:
    if job := job_of_result(file_id):
        return reply(await caller.call(results.get_file, job))
    return reply(await caller.call(files.get_file, file_id))


@router.get("/files/{file_id}/content", response_class=StreamingResponse, responses=PART, summary="Download a file")
async def get_file_content(request: Request, caller: Caller, file_id: FileId) -> Response:
    """The file as it was uploaded, or the results of a job as CSV (not in base64)."""
    if job := job_of_result(file_id):
        return Response(await caller.call(results.content, job), media_type="text/csv")
    return content_response(request, await caller.call(service.content, dataset_id(file_id)))


@router.delete("/files/{file_id}", response_model=OpenAiDeleted, summary="Delete a file")
async def delete_file(caller: Caller, file_id: FileId) -> Response:
    if job := job_of_result(file_id):
        await caller.call(results.refuse_deletion, job)
    return reply(await caller.call(files.delete_file, file_id))


@router.post("/uploads", response_model=OpenAiUpload, summary="Start an upload in parts")
async def create_upload(caller: Caller, body: JsonBody[CreateUpload]) -> Response:
    return reply(await caller.call(uploads.start, body))


@router.post("/uploads/{upload}/parts", response_model=OpenAiUploadPart, openapi_extra=PART_FORM, summary="Send a part")
async def add_part(request: Request, caller: Caller, upload: UploadId) -> Response:
    """Up to 64 MiB. Parts may arrive in any order, and at the same time."""
    own = upload_id(upload)
    form = MultipartFile(request.headers.get("content-type", ""), "data")
    part = await caller.call(uploads.new_part, own)
    try:
        received = await receive(request, part.path, part.max_bytes, form)
        return reply(await caller.call(uploads.keep_part, own, part, received))
    finally:
        with CancelScope(shield=True):
            await in_thread(part.path.unlink, missing_ok=True)


@router.post("/uploads/{upload}/complete", response_model=OpenAiUpload, summary="Make a file of the parts")
async def complete_upload(caller: Caller, upload: UploadId, body: JsonBody[CompleteUpload]) -> Response:
    """The request may be repeated: the file is made once."""
    own = upload_id(upload)
    described = await caller.call(upload_sessions.get, own)
    end = await caller.call(uploads.assemble, own, body)
    dataset = await completed(caller, own, end)
    return reply(uploads.to_upload(described, "completed", dataset))


@router.post("/uploads/{upload}/cancel", response_model=OpenAiUpload, summary="Cancel an upload")
async def cancel_upload(caller: Caller, upload: UploadId) -> Response:
    return reply(await caller.call(uploads.cancel, upload_id(upload)))
