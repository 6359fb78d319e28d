"""Chat in the SDK and the CLI, against the real HTTP service; its engines are played by one server."""

import asyncio
import io
import threading
import time
from collections.abc import Iterator

import pytest

from ftlab import errors
from ftlab.cli import chat as chat_command
from ftlab.client import AsyncClient
from serve.engines import proxy
from tests.support.fake_engines import PIECES, FakeEngines
from tests.support.model_folders import write_linear_model
from tests.support.service_fakes import running

BASE = "org/linear"


@pytest.fixture
def address(world) -> str:
    return str(world.url(""))


@pytest.fixture
def engines(world, monkeypatch) -> Iterator[FakeEngines]:
    fake = FakeEngines(world.store)
    monkeypatch.setattr(world.coordinator, "wake", fake.wake)
    monkeypatch.setattr(proxy, "PATIENT_S", 0.3)
    monkeypatch.setattr(proxy, "POLL_S", 0.05)
    monkeypatch.setattr(chat_command, "POLL_S", 0.05)
    write_linear_model(world.settings.home / "models" / BASE.replace("/", "--"))
    with running(fake.app) as url:  # type: ignore[arg-type]
        fake.url = url
        yield fake


def test_answers_in_the_sdk(client, engines, address):
    reply = client.chat.create(BASE, "Hi", temperature=0.5)
    assert reply.choices[0].message.content == "Hello"
    assert engines.requests[-1]["messages"] == [{"role": "user", "content": "Hi"}]
    assert engines.requests[-1]["temperature"] == 0.5
    assert list(client.chat.stream(BASE, [{"role": "user", "content": "Hi"}])) == list(PIECES)
    with pytest.raises(errors.NotFoundError):
        client.chat.create("job:unknown", "Hi")

    engines.cut = True
    with pytest.raises(errors.ServiceUnavailableError, match="before the answer was complete"):
        list(client.chat.stream(BASE, "Hi"))

    async def ask() -> list[str]:
        async with AsyncClient(address) as other:
            return [piece async for piece in other.chat.stream(BASE, "Hi")]

    engines.cut = False
    assert asyncio.run(ask()) == list(PIECES)


def test_an_engine_that_waits(client, engines):
    engines.is_starting = False
    with pytest.raises(errors.ServiceUnavailableError, match="is queued"):
        next(client.chat.stream(BASE, "Hi", tries_once=True))


def test_one_message_on_the_command_line(cli, engines, monkeypatch):
    shown = cli("chat", BASE, "Hi", "--system", "Be brief.", "--max-tokens", 5, "--temperature", 0, "--seed", 3)
    assert (shown.code, shown.out) == (0, "Hello [2J\u2028 !\n"), "what a terminal would obey is left out"
    asked = engines.requests[-1]
    assert asked["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert (asked["max_tokens"], asked["temperature"], asked["seed"]) == (5, 0, 3)

    monkeypatch.setattr("sys.stdin", io.StringIO("From a file\n"))
    assert cli("chat", BASE, "--json").json["choices"][0]["message"]["content"] == "Hello"
    assert engines.requests[-1]["messages"] == [{"role": "user", "content": "From a file"}]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "There is no message" in cli("chat", BASE).err


def test_a_conversation_in_the_terminal(cli, engines, monkeypatch):
    lines = iter(["Hi", "", "And now?"])

    def typed(prompt: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    shown = cli("chat", BASE)

    assert shown.out == "Hello [2J\u2028 !\n" * 2
    assert [message["role"] for message in engines.requests[-1]["messages"]] == ["user", "assistant", "user"]


def test_a_job_and_its_base_on_the_command_line(cli, engines, world):
    from dataclasses import replace

    from ftlab.status import JobStatus, ReasonCode
    from tests.support.model_folders import write_adapter
    from tests.unit.tracking.samples import NOW, add_job, model, start

    job = add_job(world.store, name="support", config={"model": BASE})
    folder = write_adapter(world.settings.home / "jobs" / job.id / "model", BASE)
    ref = start(world.store, job.id)
    with world.store.begin() as tx:
        tx.models.add(replace(model(job.id, "mdl-1"), path=folder, base_model=BASE))
        tx.attempts.end(ref, reason=ReasonCode.OK, message="", now=NOW)
        tx.jobs.move(ref, JobStatus.COMPLETED, now=NOW, model_id="mdl-1")

    assert cli("chat", "support", "Hi").code == 0
    assert engines.requests[-1]["adapter"] == str(folder)
    assert cli("chat", "support", "Hi", "--base").code == 0
    assert "adapter" not in engines.requests[-1]
    assert "no job" in cli("chat", "unknown", "Hi").err


def test_an_engine_is_shown_like_any_job(cli, engines):
    assert cli("chat", BASE, "Hi").code == 0
    [engine] = cli("ls", "--kind", "engine", "--json").json
    assert (engine["kind"], engine["status"], engine["name"]) == ("engine", "running", f"engine of {BASE}")
    for command in (
        ("ls",),
        ("queue",),
        ("show", engine["id"]),
        ("logs", engine["id"]),
        ("checkpoints", "ls", engine["id"]),
    ):
        shown = cli(*command)
        assert shown.code == 0, (command, shown.err)
    assert cli("cancel", engine["id"], "--yes").code == 0
    assert cli("ls", "--kind", "engine", "--json").json[0]["status"] == "cancelling"


def test_the_command_says_what_the_engine_waits_for(cli, engines, monkeypatch):
    engines.is_starting = False
    slept, asker, real_sleep = [], threading.current_thread(), time.sleep

    def sleep(seconds: float) -> None:
        if threading.current_thread() is not asker:
            real_sleep(seconds)
            return
        slept.append(seconds)
        if len(slept) == 2:
            engines.is_starting = True
            engines.wake()

    monkeypatch.setattr(chat_command.time, "sleep", sleep)
    shown = cli("chat", BASE, "Hi")

    assert shown.out == "Hello [2J\u2028 !\n"
    assert shown.err.count("is queued: Waiting for the scheduler") == 1
