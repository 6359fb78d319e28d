"""The unmodified `openai` client at an engine: replies, streams, errors and departures."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

if TYPE_CHECKING:
    from train.inference.engine import Engine
    from train.inference.http_server import EngineServer

TOKEN = "secret-of-the-attempt"
HELLO: list[Any] = [{"role": "user", "content": "How do I submit a job?"}]
CALLS = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
TOOLS: list[Any] = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


@pytest.fixture
def engine(make_engine: "Callable[[], Engine]") -> "Engine":
    return make_engine()


@pytest.fixture
def server(engine: "Engine") -> "Iterator[EngineServer]":
    from train.inference.http_server import EngineServer

    server = EngineServer(engine, "127.0.0.1", TOKEN)
    thread = threading.Thread(target=engine.run)
    thread.start()
    server.start()
    yield server
    engine.close("The test is over")
    thread.join()
    server.stop()


@pytest.fixture
def client(server: "EngineServer") -> Iterator[OpenAI]:
    address = f"{server.address}/v1"
    with OpenAI(api_key=TOKEN, base_url=address, max_retries=0, _strict_response_validation=True) as client:
        yield client


@pytest.fixture
def async_client(server: "EngineServer") -> AsyncOpenAI:
    return AsyncOpenAI(api_key=TOKEN, base_url=f"{server.address}/v1", _strict_response_validation=True)


def ask(client: OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(
        **({"model": "shown", "messages": HELLO, "temperature": 0, "max_tokens": 8} | options)
    )


def test_a_stream_says_what_the_whole_reply_says(client: OpenAI) -> None:
    whole = ask(client, n=2, seed=1)
    chunks = list(ask(client, n=2, seed=1, stream=True, stream_options={"include_usage": True}))

    texts = ["", ""]
    finishes: list[Any] = [None, None]
    for choice in [choice for chunk in chunks for choice in chunk.choices]:
        texts[choice.index] += choice.delta.content or ""
        finishes[choice.index] = choice.finish_reason or finishes[choice.index]
    assert texts == [choice.message.content for choice in whole.choices]
    assert finishes == [choice.finish_reason for choice in whole.choices] == ["length", "length"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens == 16
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 16
    assert (whole.model, whole.object, chunks[0].object) == ("shown", "chat.completion", "chat.completion.chunk")


def test_an_adapter_answers(server: "EngineServer", client: OpenAI, adapters: dict[str, Path]) -> None:
    base = ask(client)
    tuned = ask(client, extra_body={"adapter": str(adapters["plain"])})

    assert base.choices[0].message.content != tuned.choices[0].message.content


def test_logprobs(client: OpenAI) -> None:
    reply = ask(client, logprobs=True, top_logprobs=3)

    choice = reply.choices[0]
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content
    for token in choice.logprobs.content:
        assert len(token.top_logprobs) == 3
        assert token.logprob == token.top_logprobs[0].logprob, "the greedy token is the most likely one"
        assert token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob
    sampled = ask(client, logprobs=True, temperature=1.5, seed=3).choices[0]
    assert all(token.top_logprobs == [] for token in sampled.logprobs.content)
    with pytest.raises(openai.UnprocessableEntityError, match="top_logprobs needs logprobs"):
        ask(client, top_logprobs=3)


def test_penalties_and_biases_change_the_answer(client: OpenAI, engine: "Engine") -> None:
    [token] = engine.tokenizer_of(None)("a")["input_ids"]
    biased = ask(client, logit_bias={str(token): 100}).choices[0].message.content
    penalised = (
        ask(client, logit_bias={str(token): 100}, frequency_penalty=2, max_tokens=100).choices[0].message.content
    )

    assert biased == "a" * 8
    assert set(penalised) != {"a"}
    for unknown in ("999999", "9" * 5000, "\u00b2", ""):
        with pytest.raises(openai.UnprocessableEntityError, match="logit_bias names a token"):
            ask(client, logit_bias={unknown: 1})


def test_texts_are_continued(client: OpenAI, engine: "Engine") -> None:
    prompts = ["The queue keeps", "A checkpoint holds the"]
    reply = client.completions.create(
        model="shown", prompt=prompts, n=2, temperature=0, max_tokens=6, logprobs=2, stop=["zzz"]
    )

    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert reply.choices[0].text == reply.choices[1].text != reply.choices[2].text
    first = reply.choices[0].logprobs
    assert first is not None
    assert first.tokens is not None
    assert "".join(first.tokens) == reply.choices[0].text
    assert first.text_offset is not None
    assert first.text_offset[0] == 0
    ids = engine.tokenizer_of(None)(prompts[0])["input_ids"]
    by_ids = client.completions.create(model="shown", prompt=ids, temperature=0, max_tokens=6)
    assert by_ids.choices[0].text == reply.choices[0].text
    assert by_ids.usage is not None
    assert by_ids.usage.prompt_tokens == len(ids)
    # OpenAI's own chunks do not fit its strict type either: all but the last have no `finish_reason`.
    lenient = OpenAI(api_key=TOKEN, base_url=client.base_url)
    stream = lenient.completions.create(model="shown", prompt=prompts[0], temperature=0, max_tokens=6, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == reply.choices[0].text


def test_too_long_a_conversation_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, max_tokens=2048)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(openai.BadRequestError, match="context has 2048 tokens"):
        ask(client, messages=[{"role": "user", "content": "word " * 5000}])


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([{"role": "robot", "content": "Hi"}], "must be one of"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "only parts of type"),
        ([{"role": "user", "content": "Hi", "cache_control": {"type": "ephemeral"}}], "cache_control is not a field"),
        ([{"role": "user"}], "is missing"),
    ],
)
def test_messages_that_cannot_be_read_are_refused(client: OpenAI, messages: Any, why: str) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match=why):
        ask(client, messages=messages)


def test_messages_of_all_forms_are_read(client: OpenAI) -> None:
    parts = [{"type": "text", "text": "How do I "}, {"type": "text", "text": "submit a job?"}]
    reply = ask(client, messages=[{"role": "user", "content": parts, "name": "Ann"}])
    assert reply.choices[0].message.content == ask(client).choices[0].message.content

    said = reply.choices[0].message
    ask(client, messages=[{"role": "developer", "content": "Be brief."}, *HELLO, said, *HELLO])


def test_tools_need_a_template_that_knows_them(client: OpenAI, engine: "Engine") -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="does not know tools") as refused:
        ask(client, tools=TOOLS)
    assert refused.value.param == "tools"
    ask(client, tools=TOOLS, tool_choice="none")


def test_calls_of_tools_are_parsed(engine: "Engine", client: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = engine.tokenizer_of(None)
    template = tokenizer.chat_template
    # A template of this kind, and a model that calls: each token of the call is the only likely one.
    tokenizer.chat_template = "{% if tools %}{{ tools | tojson }}<tool_call>{% endif %}" + template
    script = iter([*tokenizer(f"Let me see. {CALLS}")["input_ids"], tokenizer.eos_token_id] * 2)
    from train.inference.sampling import SampledToken, Sampler

    monkeypatch.setattr(Sampler, "take", lambda self, logits: SampledToken(next(script)))
    whole = ask(client, tools=TOOLS, max_tokens=200).choices[0]
    chunks = list(ask(client, tools=TOOLS, max_tokens=200, stream=True))

    [call] = whole.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 1})
    assert (whole.message.content, whole.finish_reason) == ("Let me see. ", "tool_calls")
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == "Let me see. "
    [streamed] = [call for delta in deltas for call in delta.tool_calls or []]
    assert (streamed.index, streamed.function.name) == (0, "add")
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_eight_callers_at_once_get_their_own_answers(
    client: OpenAI, async_client: AsyncOpenAI, adapters: dict[str, Path]
) -> None:
    questions = ["Hi", "queue", "How do I submit a job?", "0 1 2", "user", "Can I?", "a b c d e f g h", "loss"]
    kinds: list[Any] = [None, *adapters.values(), None, adapters["plain"]]

    def request(question: str, adapter: Path | None) -> dict[str, Any]:
        messages = [{"role": "user", "content": question}]
        extra = {"adapter": str(adapter)} if adapter else {}
        return {"model": "shown", "messages": messages, "temperature": 0, "max_tokens": 24, "extra_body": extra}

    requests = [request(question, adapter) for question, adapter in zip(questions, kinds, strict=True)]

    async def ask_all() -> list[Any]:
        return await asyncio.gather(*(async_client.chat.completions.create(**each) for each in requests))

    alone = [client.chat.completions.create(**each) for each in requests]
    together = asyncio.run(ask_all())

    assert [each.choices[0].message.content for each in together] == [each.choices[0].message.content for each in alone]
    assert len({each.choices[0].message.content for each in together}) == 8


def test_an_answer_whose_reader_left_is_not_computed_any_more(server: "EngineServer", engine: "Engine") -> None:
    body = {"model": "m", "messages": HELLO, "max_tokens": 1900, "temperature": 0, "logit_bias": {"2": -100}}
    headers = {"authorization": f"Bearer {TOKEN}"}
    for is_stream in (True, False):
        with httpx2.Client(base_url=server.address, headers=headers, timeout=60 if is_stream else 0.5) as reader:
            try:
                with reader.stream("POST", "/v1/chat/completions", json=body | {"stream": is_stream}) as reply:
                    next(reply.iter_lines())
            except httpx2.ReadTimeout:
                assert not is_stream
        deadline = time.monotonic() + 30
        while not engine.is_idle:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_nobody_else_is_answered(server: "EngineServer") -> None:
    for headers in ({}, {"authorization": "Bearer other"}):
        reply = httpx2.post(f"{server.address}/v1/chat/completions", json={}, headers=headers)
        assert reply.status_code == 401
        assert httpx2.post(f"{server.address}/release", headers=headers).status_code == 401


def test_an_engine_is_released_when_it_answers_nothing(
    server: "EngineServer", client: OpenAI, engine: "Engine"
) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    running = ask(client, stream=True, max_tokens=1900, logit_bias={"2": -100})
    next(running)
    assert httpx2.post(f"{server.address}/release", headers=headers).json() == {"is_closing": False}
    running.close()
    while not engine.is_idle:
        time.sleep(0.02)

    assert httpx2.post(f"{server.address}/release", headers=headers).json() == {"is_closing": True}
    with pytest.raises(openai.InternalServerError, match="because it was idle") as refused:
        ask(client)
    assert refused.value.status_code == 503
