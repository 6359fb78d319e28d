"""`/v1/chat/completions` and `/v1/completions`: which engine gets a request, and what its caller hears meanwhile."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import openai as openai_errors
import pytest
from openai import OpenAI
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from ftlab.schemas import EngineConfig
from ftlab.schemas.accounts import Scope
from ftlab.status import JobStatus, ReasonCode
from serve.context import Services
from serve.engines import proxy
from tests.support.fake_engines import PIECES, FakeEngines
from tests.support.model_folders import write_adapter, write_linear_model
from tests.support.service_fakes import FakeCoordinator, running
from tests.unit.serve.accounts.with_keys import add_key
from tests.unit.tracking.samples import NOW, add_job, checkpoint, model, start
from tracking.store.records import JobRecord
from train.checkpoints.checkpoint_files import step_name

HELLO: list[Any] = [{"role": "user", "content": "Hi"}]
BASE = "org/linear"


@pytest.fixture
def engines(services: Services, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngines]:
    fake = FakeEngines(services.store)
    monkeypatch.setattr(coordinator, "wake", fake.wake)
    monkeypatch.setattr(proxy, "PATIENT_S", 0.6)
    monkeypatch.setattr(proxy, "POLL_S", 0.05)
    write_linear_model(services.settings.home / "models" / BASE.replace("/", "--"))
    with running(fake.app) as url:  # type: ignore[arg-type]
        fake.url = url
        yield fake


@pytest.fixture
def tuned(services: Services) -> JobRecord:
    """A job that delivered an adapter of the base model, and has one checkpoint."""
    store, home = services.store, services.settings.home
    job = add_job(store, name="support", config={"model": BASE})
    folder = home / "jobs" / job.id
    write_adapter(folder / "model", BASE)
    write_adapter(folder / "checkpoints" / step_name(10), BASE)
    ref = start(store, job.id)
    with store.begin() as tx:
        tx.checkpoints.add(ref, checkpoint(job.id, 10))
        tx.models.add(replace(model(job.id, "mdl-1"), path=folder / "model", base_model=BASE))
        tx.attempts.end(ref, reason=ReasonCode.OK, message="", now=NOW)
        tx.jobs.move(ref, JobStatus.COMPLETED, now=NOW, model_id="mdl-1")
    with store.read() as tx:
        return tx.jobs.get(job.id)


def saved(services: Services, *, owner: str = "local", config: dict[str, Any] | None = None, **adapter: Any) -> str:
    """The id of a running job with a checkpoint of step 10."""
    job = add_job(services.store, owner=owner, config={"model": BASE} | (config or {}))
    write_adapter(services.settings.home / "jobs" / job.id / "checkpoints" / step_name(10), BASE, **adapter)
    ref = start(services.store, job.id)
    with services.store.begin() as tx:
        tx.checkpoints.add(ref, checkpoint(job.id, 10))
    return job.id


def ask(client: OpenAI, name: str = BASE, **options: Any) -> Any:
    return client.chat.completions.create(**({"model": name, "messages": HELLO} | options))


def test_base_tuned_and_checkpoint_share_an_engine(
    openai: OpenAI, engines: FakeEngines, tuned: JobRecord, services: Services
) -> None:
    shown, checkpoint_id = [each.id for each in openai.models.list() if each.id.startswith("ft:")]
    assert checkpoint_id == f"{shown}:ckpt-step-10"
    names = [BASE, shown, checkpoint_id, "job:support", f"job:{tuned.id}/step-10", "model:mdl-1"]
    replies = [ask(openai, name) for name in names]

    assert [reply.model for reply in replies] == names
    assert [reply.choices[0].message.content for reply in replies] == ["Hello"] * 6
    [job] = engines.jobs()
    assert isinstance(job.config, EngineConfig)
    assert (job.config.model, job.config.idle_timeout_s, job.priority) == (BASE, 300, 50)
    folder = services.settings.home / "jobs" / tuned.id
    delivered, saved = str(folder / "model"), str(folder / "checkpoints" / step_name(10))
    assert [request.get("adapter") for request in engines.requests] == [
        *(None, delivered, saved, delivered, saved, delivered)
    ]
    assert {request["token"] for request in engines.requests} == {f"Bearer secret of {job.id}"}


def test_a_quantised_job_has_an_engine_of_its_own(
    openai: OpenAI, engines: FakeEngines, tuned: JobRecord, services: Services
) -> None:
    quantised = saved(services, config={"load_in_4bit": True})
    ask(openai, "job:support")
    ask(openai, f"job:{quantised}")

    configs = [job.config for job in engines.jobs()]
    assert [isinstance(config, EngineConfig) and config.load_in_4bit for config in configs] == [True, False]


def test_many_first_requests_start_one_engine(client: TestClient, engines: FakeEngines) -> None:
    engines.is_starting = False
    body = {"model": BASE, "messages": HELLO}
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda _: client.post("/v1/chat/completions", json=body), range(6)))

    assert {reply.status_code for reply in replies} == {503}
    assert len(engines.jobs()) == 1
    for reply in replies:
        error = reply.json()["error"]
        assert reply.headers["retry-after"] == "5"
        assert error["code"] == "engine_not_ready"
        assert error["message"].endswith("is queued: Waiting for the scheduler, which is starting or unavailable.")


def test_an_engine_that_has_ended_is_replaced(openai: OpenAI, engines: FakeEngines, services: Services) -> None:
    ask(openai)
    [first] = engines.jobs()
    # Its process is gone, and nobody has recorded that yet.
    with services.store.begin() as tx:
        tx.engines.set_address(first.ref, "http://127.0.0.1:9", "secret")

    def end_it() -> None:
        with services.store.begin() as tx:
            tx.attempts.end(first.ref, reason=ReasonCode.OK, message="", now=NOW)
            tx.jobs.move(first.ref, JobStatus.COMPLETED, now=NOW)

    with ThreadPoolExecutor() as pool:
        reply = pool.submit(ask, openai)
        end_it()
        assert reply.result(timeout=20).choices[0].message.content == "Hello"
    assert [job.status for job in engines.jobs()] == [JobStatus.RUNNING, JobStatus.COMPLETED]


def test_an_engine_that_fails_says_why(openai: OpenAI, engines: FakeEngines, services: Services) -> None:
    engines.is_starting = False

    def fail() -> None:
        while not engines.jobs():
            pass
        [job] = engines.jobs()
        with services.store.begin() as tx:
            reason = ReasonCode.MODEL_NOT_FOUND
            tx.jobs.move(job.ref, JobStatus.FAILED, now=NOW, reason=reason, message="The model is gone.")

    client = openai.with_options(max_retries=0)
    with ThreadPoolExecutor() as pool:
        failing = pool.submit(fail)
        with pytest.raises(openai_errors.InternalServerError, match="The model is gone") as refused:
            ask(client)
        failing.result()
    assert (refused.value.status_code, refused.value.code) == (503, "engine_failed")


def test_what_the_engine_refuses_is_passed_on(openai: OpenAI, engines: FakeEngines) -> None:
    error = {"message": "Too long.", "type": "invalid_request_error", "code": "context_length_exceeded", "param": "p"}
    engines.error = JSONResponse({"error": error}, 400)
    with pytest.raises(openai_errors.BadRequestError, match=r"Too long\.") as refused:
        ask(openai)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "p")


def test_a_stream_is_passed_on(openai: OpenAI, engines: FakeEngines) -> None:
    chunks = list(ask(openai, stream=True))
    assert [chunk.choices[0].delta.content for chunk in chunks] == list(PIECES)

    engines.cut = True
    with pytest.raises(openai_errors.APIError, match="ended before the answer was complete"):
        list(ask(openai, stream=True))


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"extra_body": {"repetition_penalty": 1.1}}, "repetition_penalty"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"store": True}, "store"),
        ({"n": 17}, "n"),
        ({"temperature": 3}, "temperature"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    openai: OpenAI, engines: FakeEngines, options: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai_errors.BadRequestError, match=param) as refused:
        ask(openai, **options)
    assert refused.value.param == param
    assert engines.jobs() == []


@pytest.mark.parametrize("name", ["job:unknown", "ft:a:b:c:00000000", "nonsense", "job:support/step-11", "/etc"])
def test_an_unknown_model(openai: OpenAI, engines: FakeEngines, tuned: JobRecord, name: str) -> None:
    with pytest.raises(openai_errors.NotFoundError) as refused:
        ask(openai, name)
    assert refused.value.code == "model_not_found"


def test_another_owners_model_is_unknown(openai: OpenAI, engines: FakeEngines, services: Services) -> None:
    theirs = saved(services, owner="other")
    messages = []
    for name in (f"job:{theirs}", f"job:{theirs[:-4]}zzzz", f"job:{theirs}/step-10"):
        with pytest.raises(openai_errors.NotFoundError) as refused:
            ask(openai, name)
        messages.append(refused.value.message)
    assert len(set(messages)) == 1, "in the same words as one that does not exist"
    assert engines.jobs() == []


def test_a_reward_model_cannot_answer(openai: OpenAI, engines: FakeEngines, services: Services) -> None:
    job = saved(services, task_type="SEQ_CLS")
    with pytest.raises(openai_errors.BadRequestError, match="reward model"):
        ask(openai, f"job:{job}")


def test_a_waiting_engine_asks_the_idle_ones_to_end(openai: OpenAI, engines: FakeEngines, services: Services) -> None:
    ask(openai)
    write_linear_model(services.settings.home / "models" / "org--second")
    engines.is_starting = False
    with pytest.raises(openai_errors.InternalServerError):
        ask(openai.with_options(max_retries=0), "org/second")
    assert engines.num_releases == 1


def test_the_number_of_engines_is_limited(
    openai: OpenAI, engines: FakeEngines, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(services.settings), "chat_max_engines", 1)
    ask(openai)
    write_linear_model(services.settings.home / "models" / "org--second")
    with pytest.raises(openai_errors.RateLimitError, match="as many engines as you may have"):
        ask(openai.with_options(max_retries=0), "org/second")
    ask(openai)


def test_an_engine_cannot_be_submitted(client: TestClient) -> None:
    reply = client.post("/api/training/jobs", json={"kind": "engine", "model": BASE})
    assert reply.status_code == 422
    assert "submitted by the service itself" in reply.json()["error"]["message"]


def test_owners_share_the_engine_of_a_base_model(
    client: TestClient, engines: FakeEngines, tuned: JobRecord, services: Services
) -> None:
    ann, bob = add_key(services.store, "ann", Scope.TRAIN), add_key(services.store, "bob", Scope.TRAIN)
    theirs = saved(services, owner="ann")

    def ask_as(headers: dict[str, str], model: str) -> int:
        body = {"model": model, "messages": HELLO}
        return client.post("/v1/chat/completions", json=body, headers=headers).status_code

    assert [ask_as(bob, BASE), ask_as(ann, BASE), ask_as(ann, f"job:{theirs}/step-10")] == [200, 200, 200]
    assert [job.owner for job in engines.jobs()] == ["bob"], "it belongs to the user whose request came first"
    assert len({request["cache_salt"] for request in engines.requests}) == 2
    # The adapter is in the engine, and still unknown to others.
    assert ask_as(bob, f"job:{theirs}/step-10") == 404
    assert not [each for each in client.get("/v1/models", headers=bob).json()["data"] if each["id"].startswith("ft:")]
    [engine] = engines.jobs()
    assert client.get(f"/api/training/jobs/{engine.id}", headers=ann).status_code == 404

    # While it waits, perhaps for a limit of its owner, others have one of their own.
    engines.is_starting = False
    with services.store.begin() as tx:
        tx.attempts.end(engine.ref, reason=ReasonCode.OK, message="", now=NOW)
        tx.jobs.move(engine.ref, JobStatus.COMPLETED, now=NOW)
    body = {"model": BASE, "messages": HELLO}
    mine, other = (client.post("/v1/chat/completions", json=body, headers=key).json()["error"] for key in (bob, ann))
    assert mine["message"].endswith("Waiting for the scheduler, which is starting or unavailable.")
    assert other["message"] == mine["message"]
    assert [job.owner for job in engines.jobs(JobStatus.QUEUED)] == ["ann", "bob"]
    engines.is_starting = True
    engines.wake()
    assert [ask_as(bob, BASE), ask_as(ann, BASE)] == [200, 200]
    [bobs] = [job for job in engines.jobs(JobStatus.RUNNING) if job.owner == "bob"]
    assert {request["token"] for request in engines.requests[-2:]} == {f"Bearer secret of {bobs.id}"}
