"""Answers of base models, tuned models and checkpoints."""

from collections.abc import AsyncGenerator
from typing import Any

from ftlab.client._async.transport import AsyncTransport
from ftlab.client.answers import Messages, chat_request, text_in
from ftlab.client.retry import Retries
from ftlab.client.wire import Fault
from ftlab.errors import UnreachableError
from ftlab.lines import LineReader
from ftlab.schemas.chat import ChatCompletion


class AsyncChat:
    """Conversations. `model` is a name of `/v1/models`, `job:NAME`, `job:NAME/step-N`, `model:ID` or a base model.

    `messages` is a conversation or a single question, and `options` are the fields of `ChatRequest`, such as
    `temperature` and `max_tokens`.
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, model: str, messages: Messages, **options: Any) -> ChatCompletion:
        """The next message of a conversation.

        The first request for a model starts its engine, and is tried again while that waits for devices, as long as
        `retry` of the client says; then it raises `ServiceUnavailableError`.
        """
        return await self._transport.read(ChatCompletion, chat_request(model, messages, options))

    async def stream(
        self, model: str, messages: Messages, *, tries_once: bool = False, **options: Any
    ) -> AsyncGenerator[str]:
        """The text of the next message, piece by piece. With `tries_once`, the request is not tried again.

        Raises `ServiceUnavailableError` when the engine ends before the answer is complete.
        """
        request = chat_request(model, messages, {**options, "stream": True}, tries_once=tries_once)
        retries = Retries(self._transport.endpoint, request)
        has_begun = False
        while True:
            try:
                async with self._transport.stream(request) as response:
                    if response.is_success:
                        lines = LineReader()
                        async for data in response.aiter_bytes():
                            for text in filter(None, map(text_in, lines.take(data))):
                                has_begun = True
                                yield text
                        return
                    delay_s = retries.after(response)
            except Fault as fault:
                if has_begun:
                    raise UnreachableError("The connection broke before the answer was complete.") from fault
                delay_s = retries.after(fault)
            await self._transport.sleep(delay_s)
