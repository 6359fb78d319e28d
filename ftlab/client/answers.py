"""Requests for answers of models, and the pieces of a streamed answer; nothing here does any I/O."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ftlab.client.wire import FILES_TIMEOUT_S, Request
from ftlab.errors import ServiceUnavailableError

Messages = str | Sequence[Mapping[str, Any]]
"""A conversation, or the text of its only message."""


def chat_request(model: str, messages: Messages, options: Mapping[str, Any], *, tries_once: bool = False) -> Request:
    """The request for the next message of a conversation. It may be repeated: an answer changes nothing."""
    conversation = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    document = {"model": model, "messages": conversation, **options}
    return Request(
        "POST",
        "/v1/chat/completions",
        document=document,
        timeout_s=FILES_TIMEOUT_S,
        is_probe=tries_once,
        may_repeat=True,
    )


def text_in(line: str) -> str:
    """The text in a line of a stream; empty for any other line.

    Raise `ServiceUnavailableError` where the line says that the answer was cut.
    """
    if not line.startswith("data: {"):
        return ""
    document = json.loads(line.removeprefix("data: "))
    if error := document.get("error"):
        raise ServiceUnavailableError(str(error.get("message")), error.get("code"), error.get("param"))
    return "".join(choice["delta"].get("content") or "" for choice in document["choices"])
