"""`/api/datasets/{id}/check`, `check.html` and `tokens`."""

from typing import Any

import pytest

from cluster.data.requests import CheckRequest, TokensRequest, WorkState, WorkStatus
from ftlab.errors import NotFoundError
from ftlab.schemas.checks import CheckReport
from ftlab.schemas.methods import SftMethod
from ftlab.status import ReasonCode
from tests.unit.ftlab.check_documents import EVIL, REPORT, TOKEN_ROW

MODEL = "org/tiny-model"


@pytest.fixture
def data(services) -> Any:
    return services.data


def path(dataset: dict[str, Any], what: str = "check") -> str:
    return f"/api/datasets/{dataset['id']}/{what}"


def done(report: dict[str, Any] = REPORT) -> WorkState:
    return WorkState(WorkStatus.DONE, 10, 10, result=report)


def test_asking_tells_how_far_it_is_and_in_the_end_the_report(client, dataset, data):
    data.state = WorkState(WorkStatus.WORKING, 40, 100)
    reply = client.post(path(dataset), params={"model": MODEL})
    assert (reply.status_code, reply.json()) == (
        202,
        {"status": "working", "done_rows": 40, "total_rows": 100, "report": None},
    )
    data.state = done()
    reply = client.post(path(dataset), params={"model": MODEL})
    assert reply.status_code == 200
    report = CheckReport.model_validate(reply.json())
    assert (report.dataset_id, report.model, report.num_rows) == ("ds-1", MODEL, 10)
    assert data.asked[0] == data.asked[1], "the same question, so that the answer is found again"


def test_what_is_asked_reaches_the_data_worker(client, dataset, data):
    data.state = done()
    held_out = client.post("/api/datasets", content=b'{"text":"a"}\n', headers={"x-filename": "held-out.jsonl"}).json()
    params = {
        "model": MODEL,
        "max_length": 256,
        "assistant_only_loss": "false",
        "packing": "true",
        "eval_dataset": held_out["id"],
        "max_findings": 7,
    }
    assert client.post(path(dataset), params=params).status_code == 200
    (asked,) = data.asked
    assert isinstance(asked, CheckRequest)
    assert asked.method == SftMethod(max_length=256, assistant_only_loss=False, packing=True)
    assert (asked.file.dataset_id, asked.file.num_rows) == (dataset["id"], 3)
    assert asked.eval_file is not None
    assert (asked.eval_file.dataset_id, asked.max_findings) == (held_out["id"], 7)
    assert asked.file.rows.is_file()


def test_rewards_that_compare_with_reference_answers_reach_the_data_worker(client, data):
    data.state = done()
    row = b'{"prompt": "1 + 1?", "completion": "2"}\n'
    sums = client.post("/api/datasets", content=row, headers={"x-filename": "sums.jsonl"}).json()
    rewards = "numeric_answer,length,exact_match"
    assert client.post(path(sums), params={"model": MODEL, "rewards": rewards}).status_code == 200
    assert data.asked[0].rewards == ("exact_match", "numeric_answer")
    text = client.post("/api/datasets", content=b'{"text": "a"}\n', headers={"x-filename": "text.jsonl"}).json()
    refused = client.post(path(text), params={"model": MODEL, "rewards": rewards})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "dataset_kind_mismatch")


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({}, 422, "invalid_parameter"),
        ({"model": ""}, 422, "invalid_parameter"),
        ({"model": "../../etc/passwd"}, 422, "invalid_model_id"),
        ({"model": "/etc"}, 422, "invalid_model_id"),
        ({"model": "job:job-unknown"}, 404, "model_not_found"),
        ({"model": MODEL, "rewards": "exact"}, 422, "invalid_parameter"),
        ({"model": MODEL, "max_length": 7}, 422, "invalid_parameter"),
        ({"model": MODEL, "max_length": 10**9}, 422, "invalid_parameter"),
        ({"model": MODEL, "max_findings": -1}, 422, "invalid_parameter"),
        ({"model": MODEL, "max_findings": 10**9}, 422, "invalid_parameter"),
        ({"model": MODEL, "eval_dataset": "ds-unknown"}, 404, "dataset_not_found"),
        ({"model": MODEL, "assistant_only_loss": "perhaps"}, 422, "invalid_parameter"),
    ],
)
def test_a_bad_question_is_refused(client, dataset, data, params: dict[str, Any], status: int, code: str):
    for method, what in (("POST", "check"), ("GET", "check.html")):
        reply = client.request(method, path(dataset, what), params=params)
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert not data.asked


def test_a_dataset_that_is_not_there(client, data):
    for method, what, row in (("POST", "check", {}), ("GET", "check.html", {}), ("GET", "tokens", {"row": 1})):
        reply = client.request(method, f"/api/datasets/ds-unknown/{what}", params={"model": MODEL, **row})
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "dataset_not_found")


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (ReasonCode.DATASET_INVALID, 422),
        (ReasonCode.CONFIG_INVALID, 422),
        (ReasonCode.MODEL_NOT_FOUND, 404),
        (ReasonCode.MODEL_ACCESS_DENIED, 403),
        (ReasonCode.DISK_FULL, 503),
        (ReasonCode.STORAGE_ERROR, 503),
        (ReasonCode.INTERNAL_ERROR, 409),
        (None, 409),
    ],
)
def test_a_check_that_failed_is_answered_with_its_reason(client, dataset, data, reason: ReasonCode | None, status: int):
    data.state = WorkState(WorkStatus.FAILED, reason=reason, message="Something is wrong.")
    reply = client.post(path(dataset), params={"model": MODEL})
    assert reply.status_code == status
    error = reply.json()["error"]
    assert (error["code"], error["message"]) == (str(reason or "internal_error"), "Something is wrong.")


def test_the_page_stands_on_its_own_and_runs_nothing(client, dataset, data):
    data.state = done(REPORT | {"dataset_id": EVIL})
    reply = client.get(path(dataset, "check.html"), params={"model": MODEL})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert EVIL not in reply.text


def test_while_it_is_worked_on_the_page_asks_again_by_itself(client, dataset, data):
    data.state = WorkState(WorkStatus.WORKING, 40, 100)
    reply = client.get(path(dataset, "check.html"), params={"model": MODEL})
    assert reply.status_code == 202
    assert '<meta http-equiv="refresh" content="2">' in reply.text
    assert "40 of 100 rows" in reply.text


def test_tokens_as_a_document_and_as_a_page(client, dataset, data):
    data.rows = [TOKEN_ROW]
    params = {"model": MODEL, "row": 2, "max_length": 64}
    reply = client.get(path(dataset, "tokens"), params=params)
    assert reply.status_code == 200
    assert reply.json() == {"data": [TOKEN_ROW | {"model": MODEL}]}
    asked = data.asked[0]
    assert isinstance(asked, TokensRequest)
    assert (asked.first_row, asked.num_rows, asked.method.max_length) == (1, 1, 64)
    page = client.get(path(dataset, "tokens"), params=params | {"format": "html"})
    assert page.headers["content-type"].startswith("text/html")
    assert EVIL not in page.text


@pytest.mark.parametrize("params", [{}, {"row": 0}, {"row": "x"}, {"row": 2**70}, {"row": 1, "format": "pdf"}])
def test_a_row_is_a_number_from_1(client, dataset, data, params: dict[str, Any]):
    reply = client.get(path(dataset, "tokens"), params={"model": MODEL} | params)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_parameter")


def test_what_the_data_worker_refuses_is_refused(client, dataset, data, monkeypatch):
    async def refuse(_: TokensRequest) -> list[dict[str, Any]]:
        raise NotFoundError("The dataset has 3 rows; there is no row 9.", "row_not_found", "row")

    monkeypatch.setattr(data, "tokens", refuse)
    reply = client.get(path(dataset, "tokens"), params={"model": MODEL, "row": 9})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "row_not_found")


def test_a_preview_for_a_model_has_what_its_template_leaves_out(client, dataset, data):
    data.problems = {2: "The chat template leaves out message 1 (system)."}
    shown = client.get(path(dataset, "preview"), params={"rows": 2, "model": MODEL}).json()
    assert [row["template_problem"] for row in shown["rows"]] == [None, data.problems[2]]
    (asked,) = data.asked
    assert isinstance(asked, TokensRequest)
    assert (asked.file.dataset_id, asked.first_row, asked.num_rows) == (dataset["id"], 0, 2)
    shown = client.get(path(dataset, "preview"), params={"rows": 2}).json()
    assert [row["template_problem"] for row in shown["rows"]] == [None, None]
    assert len(data.asked) == 1
    for model, status in (("", 422), ("../../etc/passwd", 422)):
        assert client.get(path(dataset, "preview"), params={"model": model}).status_code == status
