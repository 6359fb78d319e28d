"""The engine's HTTP server: OpenAI's paths for one caller, the API of the service, which checked the request."""

import asyncio
import json
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ftlab.disconnect import unless_disconnected
from ftlab.errors import AuthenticationError, FineTuneLabError, MalformedRequestError
from ftlab.schemas.chat import ADAPTER_FIELD, SALT_FIELD, ChatRequest, CompletionRequest
from train.inference.answers import Answer, Piece, Prompt
from train.inference.prompts import Limits, chat_prompts, completion_prompts, shown_tools
from train.inference.replies import ChatReply, Reply, TextReply
from train.inference.tool_calls import has_known_form

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CLOSE_TIMEOUT_S = 2
Body = TypeVar("Body", ChatRequest, CompletionRequest)


class AnyEngine(Protocol):
    """One base model that answers prompts, however it computes them. `run` is called on a thread of its own."""

    limits: Limits
    num_turns: int
    """Grows while the engine makes progress, also without requests."""

    def tokenizer_of(self, adapter: Path | None, /) -> "PreTrainedTokenizerBase":
        """The tokenizer of an adapter, or of the base model. Blocks while it is read for the first time."""

    def submit(self, prompt: Prompt, send: Callable[[Piece], None]) -> Answer:
        """Begin an answer, whose pieces go to `send`, which must not block."""

    def cancel(self, answers: Sequence[Answer]) -> None:
        """Stop computing answers that nobody waits for."""

    def idle_s(self) -> float:
        """Seconds since the engine last had something to do; 0 while it has."""

    def close_if_idle(self, for_s: float) -> bool:
        """Take no more requests if there has been none for this long; return whether it is so."""

    def close(self, why: str) -> None:
        """Take no more requests, and fail those that are running."""

    def run(self) -> None:
        """Compute until the engine is closed."""


class EngineServer:
    """Serves one engine on a free port, from a thread of its own."""

    def __init__(self, engine: AnyEngine, host: str, token: str) -> None:
        self._engine = engine
        self.token = token
        self._socket = socket.create_server((host, 0))
        self.address = f"http://{host}:{self._socket.getsockname()[1]}"
        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/completions", self._complete, methods=["POST"]),
            Route("/release", self._release, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes, exception_handlers={FineTuneLabError: _on_error})
        config = uvicorn.Config(
            self.app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=CLOSE_TIMEOUT_S
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="ftlab-engine-http", daemon=True
        )

    def start(self) -> None:
        """Begin to serve; requests that come first wait in the socket."""
        self._thread.start()

    def stop(self) -> None:
        """End the server once the replies of a closed engine are sent."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    async def _chat(self, request: Request) -> Response:
        chat, adapter, salt = await self._body(request, ChatRequest)
        prompts, reply = await asyncio.to_thread(self._chat_reply, chat, adapter)
        prompts = [replace(prompt, cache_salt=salt) for prompt in prompts]
        return await self._answer(request, prompts, reply, is_stream=bool(chat.stream), usage=chat.has_usage_chunk)

    async def _complete(self, request: Request) -> Response:
        asked, adapter, salt = await self._body(request, CompletionRequest)
        prompts, reply = await asyncio.to_thread(self._text_reply, asked, adapter)
        prompts = [replace(prompt, cache_salt=salt) for prompt in prompts]
        return await self._answer(request, prompts, reply, is_stream=bool(asked.stream), usage=asked.has_usage_chunk)

    async def _release(self, request: Request) -> Response:
        """End the engine if it answers nothing at the moment."""
        self._check_token(request)
        return JSONResponse({"is_closing": self._engine.close_if_idle(for_s=0)})

    def _chat_reply(self, request: ChatRequest, adapter: Path | None) -> tuple[list[Prompt], Reply]:
        tokenizer = self._engine.tokenizer_of(adapter)
        prompts = chat_prompts(request, tokenizer, self._engine.limits, adapter)
        tools = shown_tools(request)
        has_tools = bool(tools) and has_known_form(tokenizer, tools or [])
        num_tokens = len(prompts[0].tokens)
        return prompts, ChatReply(
            request.model,
            tokenizer,
            num_tokens,
            len(prompts),
            has_tools=has_tools,
            has_logprobs=bool(request.logprobs),
        )

    def _text_reply(self, request: CompletionRequest, adapter: Path | None) -> tuple[list[Prompt], Reply]:
        tokenizer = self._engine.tokenizer_of(adapter)
        prompts = completion_prompts(request, tokenizer, self._engine.limits, adapter)
        num_tokens = sum(len(prompt.tokens) for prompt in prompts[:: request.n or 1])
        has_logprobs = request.logprobs is not None
        return prompts, TextReply(request.model, tokenizer, num_tokens, len(prompts), has_logprobs=has_logprobs)

    async def _answer(
        self, request: Request, prompts: list[Prompt], reply: Reply, *, is_stream: bool, usage: bool
    ) -> Response:
        pieces: asyncio.Queue[tuple[int, Piece]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        answers = []
        try:
            for index, prompt in enumerate(prompts):
                answers.append(self._engine.submit(prompt, _sender(loop, pieces, index)))
            # The first piece decides whether the reply is an error.
            first = await unless_disconnected(request.receive, pieces.get())
            if (error := first[1].error) is not None:
                raise error
            parts = _in_order(pieces, first, len(prompts))
            if is_stream:
                stream = _stream(reply, parts, usage=usage)
                return _CancellingStream(stream, partial(self._engine.cancel, answers))
            return await unless_disconnected(request.receive, _whole(reply, parts))
        except BaseException:
            self._engine.cancel(answers)
            raise

    async def _body(self, request: Request, model: type[Body]) -> tuple[Body, Path | None, str | None]:
        self._check_token(request)
        document = json.loads(await request.body())
        folder, salt = document.pop(ADAPTER_FIELD, None), document.pop(SALT_FIELD, None)
        try:
            return model.model_validate_json(json.dumps(document)), Path(folder) if folder else None, salt
        except ValidationError as error:
            # The API has checked the same model: only another version of it comes here.
            raise MalformedRequestError(f"The engine cannot read the request ({error.error_count()} errors).") from None

    def _check_token(self, request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            raise AuthenticationError("The token of the engine is missing or not valid.")


class _CancellingStream(StreamingResponse):
    """A stream whose answers are cancelled when it ends, also because its reader left."""

    def __init__(self, content: AsyncIterator[bytes], on_end: Callable[[], None]) -> None:
        super().__init__(content, media_type="text/event-stream", headers={"cache-control": "no-store"})
        self._on_end = on_end

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


async def _in_order(
    pieces: "asyncio.Queue[tuple[int, Piece]]", first: tuple[int, Piece], num_answers: int
) -> AsyncIterator[tuple[int, Piece]]:
    """The pieces of all answers until each has ended. Raises the error of one that failed."""
    left = num_answers
    index, piece = first
    while True:
        if piece.error is not None:
            raise piece.error
        yield index, piece
        left -= piece.is_last
        if not left:
            return
        index, piece = await pieces.get()


async def _whole(reply: Reply, parts: AsyncIterator[tuple[int, Piece]]) -> Response:
    async for index, piece in parts:
        for _ in reply.chunks(index, piece):
            pass
    return Response(reply.whole().model_dump_json(), media_type="application/json")


async def _stream(reply: Reply, parts: AsyncIterator[tuple[int, Piece]], *, usage: bool) -> AsyncIterator[bytes]:
    try:
        for chunk in reply.opening():
            yield _event(chunk)
        async for index, piece in parts:
            for chunk in reply.chunks(index, piece):
                yield _event(chunk)
        if usage:
            yield _event(reply.usage_chunk())
        yield b"data: [DONE]\n\n"
    except FineTuneLabError as error:
        yield _event(error.to_wire())


def _event(document: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(document, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def _sender(
    loop: asyncio.AbstractEventLoop, pieces: "asyncio.Queue[tuple[int, Piece]]", index: int
) -> Callable[[Piece], None]:
    def send(piece: Piece) -> None:
        with suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(pieces.put_nowait, (index, piece))

    return send


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, FineTuneLabError)
    return JSONResponse(error.to_wire(), error.status or 500)
