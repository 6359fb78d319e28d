"""Uploads to a hub that the service makes: the request, and the messages of its reply; nothing here does any I/O."""

from pydantic import SecretStr, TypeAdapter

from ftlab.client.wire import FILES_TIMEOUT_S, OnProgress, Request, job_path, segment
from ftlab.errors import from_wire
from ftlab.schemas.hub import HubCommit, HubPush, PushDone, PushFailed, PushMessage

BROKEN = (
    "The connection broke before the upload to the hub was complete. Push again: files that arrived are not sent again."
)
_MESSAGE: TypeAdapter[PushMessage] = TypeAdapter(PushMessage)


def push_request(export: str, artifact: str, repo: str, token: str, private: bool) -> Request:
    """The request for an upload. Raises `InvalidRequestError` for a repository or a token that cannot be one."""
    push = HubPush(repo=repo, private=private, token=SecretStr(token))
    document = {"repo": push.repo, "private": push.private, "token": push.token.get_secret_value()}
    path = f"{job_path(export)}/exports/{segment(artifact)}/push"
    return Request("POST", path, document=document, timeout_s=FILES_TIMEOUT_S)


def result_in(line: str, on_progress: OnProgress | None) -> HubCommit | None:
    """What a line of the reply says at the end of an upload; `None` for any other line.

    Raises the error of an upload that failed.
    """
    if not line.startswith("data: "):
        return None
    message = _MESSAGE.validate_json(line.removeprefix("data: "))
    if isinstance(message, PushDone):
        return message.result
    if isinstance(message, PushFailed):
        raise from_wire(message.status, {"error": message.error})
    if on_progress and message.phase == "uploading":
        on_progress(message.done_bytes, message.total_bytes)
    return None
