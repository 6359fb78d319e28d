"""The clients of the data worker, with Ray played by a stand-in."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from cluster.data import client
from cluster.data.client import PrepareCalls, RayDataClient
from cluster.data.requests import BaseRef, CheckRequest, PrepareRequest, SourceFile, WorkState, WorkStatus
from ftlab.errors import InvalidRequestError, ServiceUnavailableError
from ftlab.schemas.methods import SftMethod

BASE = BaseRef("org/name", Path("/models"))
FILE = SourceFile("ds-1", "training-files", "canonical/x.arrow", Path("/rows"), 10)
WORKING = WorkState(WorkStatus.WORKING, 1, 10, worker=7)


def request(name: str = "ds-1") -> PrepareRequest:
    return PrepareRequest(BASE, SftMethod(), (SourceFile(name, "training-files", "key", Path("/rows"), 10),))


class Worker:
    """The actor and Ray as the calls see them: a reference is a number, and tests say which ones are answered."""

    def __init__(self) -> None:
        self.num_calls = 0
        self.answers: dict[int, Any] = {}
        self.prepare = SimpleNamespace(remote=self._called)

    def _called(self, _: PrepareRequest) -> int:
        self.num_calls += 1
        return self.num_calls

    def wait(self, references: list[int], timeout: float) -> tuple[list[int], list[int]]:
        done = [reference for reference in references if reference in self.answers]
        return done, [reference for reference in references if reference not in self.answers]

    def get(self, reference: int) -> Any:
        answer = self.answers[reference]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    worker = Worker()
    monkeypatch.setattr(client, "start_data_worker", lambda: worker)
    monkeypatch.setattr(client.ray, "wait", worker.wait)
    monkeypatch.setattr(client.ray, "get", worker.get)
    return worker


def test_a_late_answer_is_told_by_the_next_call(worker: Worker):
    calls = PrepareCalls()
    assert calls.ask(request()) is None
    assert calls.ask(request("ds-2")) is None
    assert worker.num_calls == 2
    worker.answers[1] = WORKING
    assert calls.ask(request()) == WORKING
    assert calls.ask(request("ds-2")) is None
    assert worker.num_calls == 2, "nothing is asked again before it is answered"
    assert calls.ask(request()) is None
    assert worker.num_calls == 3


def test_a_worker_that_has_died_is_asked_again(worker: Worker):
    calls = PrepareCalls()
    worker.answers = {1: ActorUnavailableError("it died", b"0" * 16), 2: WORKING}
    assert calls.ask(request()) is None
    assert calls.ask(request()) == WORKING


def test_calls_that_nobody_asks_about_any_more_are_forgotten(worker: Worker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client, "MAX_PENDING", 3)
    calls = PrepareCalls()
    for number in range(20):
        calls.ask(request(f"ds-{number}"))
    assert len(calls._pending) <= 4


def answer_with(answer: Callable[[], Any]) -> Any:
    async def check(_: CheckRequest) -> Any:
        return answer()

    return SimpleNamespace(check=SimpleNamespace(remote=check))


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    def set_answer(answer: Callable[[], Any]) -> None:
        monkeypatch.setattr(client.ray, "is_initialized", lambda: True)
        monkeypatch.setattr(client.ray, "get_actor", lambda name, namespace: answer_with(answer))

    return set_answer


def check() -> Any:
    return asyncio.run(RayDataClient().check(CheckRequest(BASE, SftMethod(), FILE)))


def test_the_worker_answers_a_check(answer: Callable[[Callable[[], Any]], None]):
    answer(lambda: WORKING)
    assert check() == WORKING


def test_a_worker_that_is_away_is_a_503(answer: Callable[[Callable[[], Any]], None]):
    def away() -> Any:
        raise ActorUnavailableError("it died", b"0" * 16)

    answer(away)
    with pytest.raises(ServiceUnavailableError) as caught:
        check()
    assert caught.value.code == "data_worker_unavailable"


def test_what_the_work_itself_refuses_stays_what_it_is(answer: Callable[[Callable[[], Any]], None]):
    def refuse() -> Any:
        raise InvalidRequestError("There is no row 12.", "row_not_found")

    answer(refuse)
    with pytest.raises(InvalidRequestError, match="There is no row 12"):
        check()
