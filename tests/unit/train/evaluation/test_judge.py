"""Judges over real sockets: verdicts, failures, and what is kept."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ftlab.errors import ConflictError, InvalidRequestError, ServiceUnavailableError
from ftlab.schemas.judge_servers import JudgeServer
from ftlab.schemas.judges import JudgePreference, JudgeScore
from ftlab.status import ReasonCode, StopKind
from tests.support.judge_stub import KEY, MODEL, JudgeStub
from tests.support.service_fakes import running
from tests.unit.train.evaluation.test_run import plan_of, results_of, rows_of
from tests.unit.train.runs import MODEL as TESTED
from tests.unit.train.runs import Job, Link, write_rows
from train.evaluation.judge_client import JudgeClient, RequestRefusedError, filled, parse_choice, parse_score
from train.evaluation.judging import pair_prompt, score_prompt
from train.evaluation.measures import Answer
from train.evaluation.row_store import ANSWERS, PROGRESS_FILE, RowStore
from train.evaluation.run import run
from train.failures.classify import classify
from train.plan import Ending, EvaluationPlan, MeasuredModel

GENERATION = {"generation": {"max_new_tokens": 4}}
JUDGE: dict[str, Any] = {"type": "judge_score", "judge": "strict"}
PREFERENCE: dict[str, Any] = {"type": "judge_preference", "judge": "strict"}


@pytest.fixture
def stub() -> JudgeStub:
    return JudgeStub()


@pytest.fixture
def server(stub: JudgeStub, monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setattr("train.evaluation.judge_client.FIRST_BACKOFF_S", 0.01)
    with running(stub.app) as url:
        yield JudgeServer(url=f"{url}/v1", model=MODEL, key_env="JUDGE_KEY", max_concurrency=2)


def judged(job: Job, server: JudgeServer, *models: MeasuredModel, num_rows: int = 4, **config: Any) -> EvaluationPlan:
    rows = write_rows(job.folder.with_name("measured.arrow"), num_rows)
    plan = plan_of(job, rows, *models, **GENERATION | {"metrics": [JUDGE]} | config)
    return replace(plan, judges={"strict": server})


def test_requests_are_repeatable_and_failures_are_retried(stub: JudgeStub, server: JudgeServer):
    stub.failures = [429, 500, 0, 200, 503]
    client = JudgeClient("strict", server.model_copy(update={"timeout_s": 0.3}), seed=7)
    assert parse_score(client.ask("Answer:\nyes\n\nReply with"), 1, 10) == 3
    [asked] = stub.asked
    assert (asked["model"], asked["temperature"], asked["seed"], asked["max_tokens"]) == (MODEL, 0, 7, 512)
    stub.failures = [503] * 6
    with pytest.raises(ServiceUnavailableError, match="Judge 'strict' does not answer: HTTP status 503") as error:
        client.ask("Answer:\nyes\n\nReply with")
    stub.failures = [400]
    with pytest.raises(RequestRefusedError):
        client.ask("x")
    stub.failures = [404]
    with pytest.raises(InvalidRequestError, match=r"refuses all requests \(HTTP status 404\): check its url and model"):
        client.ask("x")
    client.close()
    assert classify(error.value, None).reason is ReasonCode.JUDGE_UNAVAILABLE  # type: ignore[arg-type]


class HostileJudge:
    """Sends the reply that the test has set."""

    def __init__(self) -> None:
        self.reply: Response = Response()
        self.app = Starlette(routes=[Route("/v1/chat/completions", self._reply, methods=["POST"])])

    async def _reply(self, _: Request) -> Response:
        return self.reply


async def endless(piece: bytes, pause_s: float) -> AsyncIterator[bytes]:
    while True:
        yield piece
        await asyncio.sleep(pause_s)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (lambda: StreamingResponse(endless(b" ", 0.01)), "did not answer within 0.3 s"),
        (lambda: StreamingResponse(endless(b" " * 2**20, 0)), "not one of the chat completions API"),
        (lambda: StreamingResponse(endless(b" ", 0.01), 503), "HTTP status 503"),
        (lambda: Response(b"no gzip", headers={"content-encoding": "gzip"}), "the connection failed"),
        (lambda: Response(b"[" * 10**6), "not one of the chat completions API"),
    ],
)
def test_a_judge_that_misbehaves_does_not_answer(
    reply: Callable[[], Response], problem: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("train.evaluation.judge_client.MAX_TRIES", 1)
    judge = HostileJudge()
    judge.reply = reply()
    with running(judge.app) as url:
        client = JudgeClient("strict", JudgeServer(url=f"{url}/v1", model=MODEL, timeout_s=0.3), seed=0)
        with pytest.raises(ServiceUnavailableError, match=problem):
            client.ask("x")
        client.close()


def test_a_reply_can_be_stored_whatever_it_holds():
    judge = HostileJudge()
    judge.reply = Response(json.dumps({"choices": [{"message": {"content": "half \ud800 of a pair"}}]}))
    with running(judge.app) as url:
        client = JudgeClient("strict", JudgeServer(url=f"{url}/v1", model=MODEL), seed=0)
        assert client.ask("x") == "half ? of a pair"
        client.close()


def test_a_closed_client_does_not_wait_for_its_next_try(stub: JudgeStub, server: JudgeServer):
    client = JudgeClient("strict", server, seed=0)
    client.close()
    with pytest.raises(ServiceUnavailableError, match="the evaluation ended"):
        client.ask("x")
    assert not stub.asked


def test_keys_that_are_missing_or_wrong_are_named_and_never_repeated(
    server: JudgeServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JUDGE_KEY", "wrong-canary")
    with pytest.raises(InvalidRequestError, match="must have a valid API key") as error:
        JudgeClient("strict", server, seed=0).ask("x")
    assert "canary" not in str(error.value)
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(InvalidRequestError, match="in the environment variable JUDGE_KEY"):
        JudgeClient("strict", server, seed=0)


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"score": 7}', 7.0),
        ('\n{"reason": "Good.", "score": 2.5}\n', 2.5),
        ('```json\n{"score": 10}\n```', 10.0),
        ("7", None),
        ("The score is 7.", None),
        ('{"score": "7"}', None),
        ('{"score": true}', None),
        ('{"score": 11}', None),
        ('{"score": NaN}', None),
        ('{"score": 1e999}', None),
        ('{"score": 1' + "0" * 400 + "}", None),
        ('{"score": 7} {"score": 8}', None),
        ('[{"score": 7}]', None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_scores_are_read_strictly(reply: str, score: float | None):
    assert parse_score(reply, 1, 10) == score


def test_choices_are_read_strictly():
    replies = ('{"better": "A"}', '{"better": "tie"}', '{"better": "a"}', "A", '{"better": ["A"]}')
    assert [parse_choice(reply) for reply in replies] == ["A", "tie", None, None, None]


def test_an_answer_cannot_fill_a_placeholder():
    rubric = '{question} {"kept": 1} {reference} {answer} {other}'
    values = {"question": "Q {answer}", "reference": "R", "answer": "A {question}"}
    assert filled(rubric, values) == 'Q {answer} {"kept": 1} R A {question} {other}'
    score = score_prompt(JudgeScore(judge="strict", max_score=5.0), values)
    assert "Answer:\nA {question}\n" in score
    assert "from 1 (worst) to 5 (best)" in score
    pair = pair_prompt(JudgePreference(judge="strict"), values | {"answer_a": "first", "answer_b": "second"})
    assert pair.index("Answer of A:\nfirst") < pair.index("Answer of B:\nsecond")


def test_every_answer_has_the_score_and_the_reply_of_the_judge(
    job: Job, stub: JudgeStub, server: JudgeServer, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    stub.failures, stub.delay_s = [429], 0.05
    plan = judged(job, server)
    link = Link()
    assert run(plan, link).ending is Ending.FINISHED
    [metric] = results_of(plan).models[0].metrics
    rows = rows_of(plan)
    scores = [max(1, min(10, len(row["answers"]["base"]))) for row in rows]
    assert [row["scores"]["base"]["judge_score"] for row in rows] == scores
    assert (metric.value, metric.num_rows) == (pytest.approx(sum(scores) / 4), 4)
    assert [json.loads(row["judge_replies"]["base"]["judge_score"][0])["score"] for row in rows] == scores
    assert (len(stub.asked), stub.most_at_once) == (4, 2)
    files = "".join(file.read_text("utf-8") for file in plan.results_folder.iterdir())
    assert "canary" not in files + caplog.text + repr(plan)
    assert server.url not in files + caplog.text


def test_replies_that_cannot_be_read_are_counted_and_kept(job: Job, stub: JudgeStub, server: JudgeServer):
    replies = iter(["Seven.", '{"score": 99}', None, '{"score": 4}'])
    stub.verdict = lambda _: next(replies)
    plan = judged(job, server.model_copy(update={"max_concurrency": 1}))
    run(plan, Link())
    [metric] = results_of(plan).models[0].metrics
    assert (metric.value, metric.num_rows, metric.skipped) == (4.0, 1, {"judge_unreadable": 3})
    kept = [row["judge_replies"]["base"]["judge_score"] for row in rows_of(plan)]
    assert kept == [["Seven."], ['{"score": 99}'], [""], ['{"score": 4}']]


def test_refused_rows_are_counted_and_a_judge_that_refuses_all_fails(job: Job, stub: JudgeStub, server: JudgeServer):
    stub.failures = [400]
    plan = judged(job, server)
    run(plan, Link())
    [metric] = results_of(plan).models[0].metrics
    assert (metric.num_rows, metric.skipped) == (3, {"judge_refused": 1})
    stub.failures = [400] * 4
    plan = replace(plan, job_folder=job.folder.with_name("refused"))
    with pytest.raises(InvalidRequestError, match=r"refused every row of metric 'judge_score' \(HTTP status 400\)"):
        run(plan, Link())


def test_no_row_is_judged_twice(job: Job, stub: JudgeStub, server: JudgeServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("train.evaluation.judge_client.MAX_TRIES", 1)
    plan = judged(job, server.model_copy(update={"max_concurrency": 1}), num_rows=6)
    given = iter([None, None, 503])

    def failing(prompt: str) -> str | None:
        if next(given, None) == 503:
            stub.failures = [503]
        return '{"score": 5}'

    stub.verdict = failing
    with pytest.raises(ServiceUnavailableError):
        run(plan, Link())
    assert (plan.results_folder / PROGRESS_FILE).read_text("utf-8").count('"replies"') == len(stub.asked) < 6
    assert run(replace(plan, attempt=2), Link()).ending is Ending.FINISHED
    assert len(stub.asked) == 6
    assert len({request["messages"][0]["content"] for request in stub.asked}) == 6
    run(replace(plan, attempt=3), Link())
    assert len(stub.asked) == 6


def test_a_stop_keeps_the_replies_that_are_under_way(job: Job, stub: JudgeStub, server: JudgeServer):
    stub.delay_s = 0.1
    plan = judged(job, server, num_rows=8)
    stopped = run(plan, Link(stop_at={10: StopKind.PREEMPT}))
    assert (stopped.ending, stopped.stop) == (Ending.STOPPED, StopKind.PREEMPT)
    kept = (plan.results_folder / PROGRESS_FILE).read_text("utf-8").count('"replies"')
    assert kept == len(stub.asked) < 8
    run(replace(plan, attempt=2), Link())
    assert len(stub.asked) == 8


def test_preferences_are_asked_in_both_orders(job: Job, stub: JudgeStub, server: JudgeServer):
    models = (MeasuredModel(TESTED, "base", TESTED), MeasuredModel(TESTED, "model", TESTED, base=0))
    plan = judged(job, server, *models, metrics=[PREFERENCE])
    biased = replace(plan, job_folder=job.folder.with_name("biased"))
    given = [["yes", "no", "same", "tie"], ["longer", "n", "same", "tai"]]
    for each in (plan, biased):
        store = RowStore(each.results_folder)
        for model, texts in enumerate(given):
            store.add(model, ANSWERS, {row: Answer(text, [1], is_cut=False) for row, text in enumerate(texts, 1)})
        store.close()
    run(plan, Link())
    first, second = (model.metrics[0] for model in results_of(plan).models)
    assert (first.value, second.value) == (0.5, (1 + 0 + 0.5 + 0.5) / 4)
    assert [row["scores"]["model"]["judge_preference"] for row in rows_of(plan)] == [1, 0, 0.5, 0.5]
    assert len(stub.asked) == 2 * 3  # equal answers need no judge
    stub.verdict = lambda _: '{"better": "A"}'
    run(biased, Link())
    assert results_of(biased).models[1].metrics[0].value == 0.5


def test_a_judge_that_changed_or_is_gone_is_refused(job: Job, server: JudgeServer):
    plan = judged(job, server, metrics=[JUDGE | {"model": "judge-0"}])
    with pytest.raises(ConflictError, match="is another model now"):
        run(plan, Link())
    with pytest.raises(InvalidRequestError, match="no longer has the judge 'strict'"):
        run(replace(judged(job, server), judges={}), Link())
