"""How the API asks the hub: beside the event loop, once at a time, and not again for a while."""

import asyncio
import threading
from pathlib import Path

import pytest

from ftlab.errors import NotFoundError
from serve.models import huggingface
from serve.models.huggingface import AWAY_S, KNOWN_S, REFUSED_S, CachedHuggingFace, fetched_before
from serve.models.huggingface_lookup import HubModel
from tests.support.model_folders import write_model
from tests.support.service_fakes import COMMIT, FACTS
from train.model.hub_errors import HubAwayError, HubOfflineError

MODEL = HubModel(COMMIT, FACTS)


class Asked:
    """An `ask` that answers what it was told, and a clock that stands until it is moved."""

    def __init__(self, answer: HubModel | Exception) -> None:
        self.answer = answer
        self.num_asked = 0
        self.now = 1000.0
        self.gate: threading.Event | None = None
        self.hub = CachedHuggingFace(self.ask, lambda: self.now)

    def ask(self, repo: str, revision: str | None) -> HubModel:
        self.num_asked += 1
        if self.gate is not None:
            assert self.gate.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


async def code(hub: CachedHuggingFace) -> str | None:
    try:
        found = await hub.find("org/name", None)
    except NotFoundError as error:
        return error.code
    return found.revision if found else None


@pytest.mark.parametrize(
    ("answer", "holds_s", "means"),
    [
        (MODEL, KNOWN_S, COMMIT),
        (NotFoundError("No.", "model_not_found", "model"), REFUSED_S, "model_not_found"),
        (HubAwayError("ConnectError"), AWAY_S, None),
        (HubOfflineError("offline"), REFUSED_S, "model_not_found"),
    ],
)
def test_an_answer_holds_for_a_while(answer, holds_s, means):
    async def ask() -> list[int]:
        seen = []
        for now in (1000.0, 1000.0 + holds_s - 1, 1000.0 + holds_s + 1):
            asked.now = now
            assert await code(asked.hub) == means
            seen.append(asked.num_asked)
        return seen

    asked = Asked(answer)
    assert asyncio.run(ask()) == [1, 1, 2]


def test_many_requests_ask_once():
    async def ask() -> set[str | None]:
        waiting = [asyncio.create_task(code(asked.hub)) for _ in range(50)]
        while not asked.num_asked:
            await asyncio.sleep(0.001)
        asked.gate.set()
        return set(await asyncio.gather(*waiting))

    asked = Asked(MODEL)
    asked.gate = threading.Event()
    assert asyncio.run(ask()) == {COMMIT}
    assert asked.num_asked == 1


def test_a_slow_hub_is_away_for_those_who_waited_and_there_for_the_next(monkeypatch):
    async def ask() -> list[str | None]:
        first = await code(asked.hub)
        asked.gate.set()
        while await code(asked.hub) is None:
            await asyncio.sleep(0.001)
        return [first, await code(asked.hub)]

    monkeypatch.setattr(huggingface, "WAIT_S", 0.05)
    asked = Asked(MODEL)
    asked.gate = threading.Event()
    assert asyncio.run(ask()) == [None, COMMIT]
    assert asked.num_asked == 1


def test_a_caller_that_goes_away_takes_nobody_with_it():
    async def ask() -> str | None:
        first, second = (asyncio.create_task(code(asked.hub)) for _ in range(2))
        while not asked.num_asked:
            await asyncio.sleep(0.001)
        first.cancel()
        asked.gate.set()
        return await second

    asked = Asked(MODEL)
    asked.gate = threading.Event()
    assert asyncio.run(ask()) == COMMIT


def test_few_answers_are_kept(monkeypatch):
    async def ask() -> None:
        for number in range(5):
            await asked.hub.find(f"org/{number}", None)
        await asked.hub.find("org/4", None)

    monkeypatch.setattr(huggingface, "MAX_KEPT", 3)
    asked = Asked(MODEL)
    asyncio.run(ask())
    assert asked.num_asked == 5
    assert len(asked.hub._known) == 3


def test_what_was_fetched_before_stands_in_for_the_hub(cache):
    snapshots = cache / "models--org--name" / "snapshots"
    write_model(snapshots / COMMIT)
    (cache / "models--org--name" / "refs").mkdir()
    (cache / "models--org--name" / "refs" / "main").write_text(COMMIT)
    found = fetched_before("org/name", None)
    assert found is not None
    assert (found.revision, found.facts.parameters) == (COMMIT, 8)
    assert fetched_before("org/name", COMMIT) == found
    assert fetched_before("org/name", "0" * 40) is fetched_before("org/other", None) is None
    assert asyncio.run(code(Asked(HubAwayError("x")).hub)) == COMMIT
    assert asyncio.run(code(Asked(HubOfflineError("x")).hub)) == COMMIT


def test_half_a_download_does_not(cache):
    write_model(cache / "models--org--name" / "snapshots" / COMMIT, without=["model.safetensors"])
    assert fetched_before("org/name", COMMIT) is None
