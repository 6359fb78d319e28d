"""One attempt of an engine without Ray: it tells where it listens, answers, and ends."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from ftlab.errors import ConflictError
from ftlab.schemas import EngineConfig, NoticePayload
from ftlab.status import StopKind
from tests.support.clocks import wait_for
from train.plan import Beat, EnginePlan, EngineReady, ModelLoaded, Outcome, Phase, RunReport

HELLO: list[Any] = [{"role": "user", "content": "Hi"}]


@dataclass
class Link:
    """A `RunLink` that keeps everything."""

    host: str = "127.0.0.1"
    reports: list[RunReport] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    stop: StopKind | None = None

    def emit(self, payload: RunReport) -> None:
        self.reports.append(payload)

    def beat(self, beat: Beat) -> None:
        self.beats.append(beat)

    def stop_requested(self) -> StopKind | None:
        return self.stop

    def save_requested(self) -> bool:
        return False

    def report_checkpoint(self, step: int, folder: Path) -> None:
        raise AssertionError("an engine saves nothing")


@dataclass
class Attempt:
    link: Link
    thread: threading.Thread
    outcomes: list[Outcome]
    errors: list[Exception]

    def client(self) -> OpenAI:
        wait_for(lambda: len(self.link.reports) == 3, what="the engine to listen")
        chosen, loaded, ready = self.link.reports
        assert isinstance(chosen, NoticePayload)
        assert isinstance(loaded, ModelLoaded)
        assert isinstance(ready, EngineReady)
        return OpenAI(base_url=f"{ready.address}/v1", api_key=ready.token, max_retries=0)

    def end(self) -> Outcome:
        self.thread.join(20)
        assert not self.thread.is_alive()
        [outcome] = self.outcomes
        return outcome


def plan(models: Path, tmp_path: Path, **changes: Any) -> EnginePlan:
    values: dict[str, Any] = {
        "job_id": "job-1",
        "attempt": 1,
        "config": EngineConfig(model="org/tiny", idle_timeout_s=3600),
        "job_folder": tmp_path / "job",
        "models_folder": models,
        "cache_folder": tmp_path / "cache",
        "threads": 1,
        "model": "org/tiny",
        "pinned_revision": None,
        "inference_folder": tmp_path / "inference",
    }
    return EnginePlan(**(values | changes))


def begin(plan: EnginePlan) -> Attempt:
    from train.run_job import run_job

    link, outcomes, errors = Link(), list[Outcome](), list[Exception]()

    def run() -> None:
        try:
            outcomes.append(run_job(plan, link))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return Attempt(link, thread, outcomes, errors)


def test_an_engine_without_requests_ends(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from train.inference import run_engine

    monkeypatch.setattr(run_engine, "IDLE_AFTER_S", 1.0)
    attempt = begin(plan(models, tmp_path, config=EngineConfig(model="org/tiny", idle_timeout_s=2)))
    with attempt.client() as client:
        reply = client.chat.completions.create(model="m", messages=HELLO, max_tokens=4)
    assert reply.usage is not None
    assert reply.usage.completion_tokens <= 4

    outcome = attempt.end()
    assert (outcome.ending, outcome.stop) == ("finished", None)
    assert len(attempt.link.beats) >= 2, "an engine that only waits is alive"
    phases = [beat.phase for beat in attempt.link.beats]
    assert list(dict.fromkeys(phases)) == [Phase.LOADING, Phase.ANSWERING, Phase.IDLE]
    assert phases[-1] is Phase.IDLE


def test_a_stop_ends_running_answers(models: Path, tmp_path: Path) -> None:
    attempt = begin(plan(models, tmp_path))
    with attempt.client() as client:
        bias = {str(token): -100 for token in (0, 2)}
        stream = client.chat.completions.create(
            model="m", messages=HELLO, max_tokens=1900, stream=True, logit_bias=bias
        )
        next(stream)
        attempt.link.stop = StopKind.PREEMPT
        with pytest.raises(openai.APIError, match="The engine stops"):
            list(stream)

    outcome = attempt.end()
    assert (outcome.ending, outcome.stop) == ("stopped", StopKind.PREEMPT)


def test_another_base_model_than_the_requests_are_meant_for(models: Path, tmp_path: Path) -> None:
    from train.run_job import run_job

    with pytest.raises(ConflictError, match="changed since the job's first attempt"):
        run_job(plan(models, tmp_path, pinned_revision="local-other"), Link())
