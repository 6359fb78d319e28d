"""Shapes, mappings and kinds of datasets over HTTP, and the preview."""

import gzip
import json
from typing import Any

import pytest

from train.data.rows.canonical import CanonicalFile

DATASETS = "/api/datasets"
JOBS = "/api/training/jobs"
TURNS = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}]
ROWS: dict[str, dict[str, Any]] = {
    "messages": {"messages": TURNS},
    "sharegpt": {"conversations": [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "Here."}]},
    "alpaca": {"instruction": "Where?", "output": "Here."},
    "prompt_completion": {"prompt": "Where?", "completion": "Here."},
    "text": {"text": "Once upon a time"},
    "preference": {"prompt": "Where?", "chosen": "Here.", "rejected": "No."},
    "openai_dpo": {
        "input": {"messages": TURNS[:1]},
        "preferred_output": TURNS[1:],
        "non_preferred_output": [{"role": "assistant", "content": "No."}],
    },
    "unpaired": {"prompt": "Where?", "completion": "Here.", "label": True},
}


def upload(client, rows, filename="rows.jsonl", **params):
    content = rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode()
    return client.post(DATASETS, content=content, headers={"x-filename": filename}, params=params)


def preview(client, dataset: dict[str, Any], **params):
    reply = client.get(f"{DATASETS}/{dataset['id']}/preview", params=params)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.parametrize(("shape", "kind"), [
    ("messages", "messages"),
    ("sharegpt", "messages"),
    ("alpaca", "messages"),
    ("prompt_completion", "messages"),
    ("text", "text"),
    ("preference", "preference"),
    ("openai_dpo", "preference"),
    ("unpaired", "unpaired"),
])  # fmt: skip
def test_every_shape_is_found_and_shown_before_and_after(client, shape, kind):
    reply = upload(client, [ROWS[shape]] * 2)
    assert reply.status_code == 201, reply.text
    dataset = reply.json()
    assert (dataset["shape"], dataset["kind"], dataset["num_rows"]) == (shape, kind, 2)
    assert dataset["confidence"] >= 0.9
    shown = preview(client, dataset, rows=1)
    assert {name: shown[name] for name in ("dataset_id", "format", "shape", "kind")} == {
        "dataset_id": dataset["id"],
        "format": "jsonl",
        "shape": shape,
        "kind": kind,
    }
    (row,) = shown["rows"]
    assert {field["name"] for field in shown["fields"] if field["used_as"]} == ROWS[shape].keys()
    assert (row["line"], row["raw"], row["problem"]) == (1, ROWS[shape], None)
    if kind == "messages":
        assert row["row"] == {"messages": TURNS}


def test_columns_that_the_uploader_names_are_kept_and_used_by_the_preview(client):
    rows = b"question,answer\nWhere?,Here.\n\nWho?,\n"
    refused = upload(client, rows, "faq.csv")
    assert refused.status_code == 422
    assert '{"prompt": "question", "completion": "answer"}' in refused.json()["error"]["message"]
    columns = {"prompt": "question", "completion": "answer"}
    refused = upload(client, rows, "faq.csv", columns=json.dumps(columns))
    assert "line 4: completion is missing or null. [empty_content]" in refused.json()["error"]["message"]
    reply = upload(client, gzip.compress(rows), "faq.csv.gz", columns=json.dumps(columns), accept_partial="true")
    assert reply.status_code == 201, reply.text
    dataset = reply.json()
    assert (dataset["format"], dataset["shape"]) == ("csv", "prompt_completion")
    assert (dataset["num_rows"], dataset["num_skipped"]) == (1, 1)
    assert dataset["problems"] == ["line 4: completion is missing or null. [empty_content]"]
    assert dataset["compression"] == "gzip"
    assert preview(client, dataset)["rows"] == [
        {
            "line": 2,
            "raw": {"question": "Where?", "answer": "Here."},
            "row": {"messages": TURNS},
            "problem": None,
            "template_problem": None,
        },
        {
            "line": 4,
            "raw": {"question": "Who?", "answer": None},
            "row": None,
            "problem": "completion is missing or null. [empty_content]",
            "template_problem": None,
        },
    ]


def test_a_row_that_fits_two_shapes_needs_a_word(client):
    row = ROWS["messages"] | ROWS["preference"]
    refused = upload(client, [row])
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "dataset_invalid")
    assert "shape=messages" in refused.json()["error"]["message"]
    assert upload(client, [row], shape="preference").json()["kind"] == "preference"
    wrong = upload(client, [row], shape="chat").json()["error"]
    assert (wrong["code"], wrong["param"]) == ("invalid_mapping", "shape")


@pytest.mark.parametrize(("rows", "status"), [(0, 422), (51, 422), ("x", 422), (50, 200)])
def test_how_many_rows_a_preview_has(client, dataset, rows, status):
    assert client.get(f"{DATASETS}/{dataset['id']}/preview", params={"rows": rows}).status_code == status


def test_a_preview_of_nothing(client):
    assert client.get(f"{DATASETS}/ds-unknown/preview").json()["error"]["code"] == "dataset_not_found"


@pytest.mark.parametrize(("shape", "method"), [("preference", "dpo"), ("unpaired", "kto")])
def test_a_job_of_another_method_is_refused_with_the_kind_and_the_method_for_it(client, config, shape, method):
    other = upload(client, [ROWS[shape]]).json()
    for field in ("dataset", "eval_dataset"):
        refused = client.post(JOBS, json=config | {field: other["id"]})
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["param"]) == (422, "dataset_kind_mismatch", field)
        assert f"rows of the kind '{shape}', and method 'sft' learns from messages or text only" in error["message"]
        assert f"set method.type to '{method}'" in error["message"]
    assert client.get(JOBS).json()["data"] == []
    accepted = client.post(JOBS, json=config | {"dataset": other["id"], "method": {"type": method}})
    assert accepted.status_code == 201
    assert accepted.json()["resolved_config"]["training"]["learning_rate"] == 1e-5


def test_a_batch_without_a_second_row_is_refused_for_rated_answers(client, config):
    other = upload(client, [ROWS["unpaired"]]).json()["id"]
    job = config | {"dataset": other, "method": {"type": "kto"}, "training": {"per_device_train_batch_size": 1}}
    refused = client.post(JOBS, json=job)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_config")
    assert "training.per_device_train_batch_size must be at least 2" in refused.json()["error"]["message"]


def test_the_files_of_a_job_are_of_one_kind(client, config):
    text = upload(client, [ROWS["text"]]).json()["id"]
    assert client.post(JOBS, json=config | {"dataset": text}).status_code == 201
    refused = client.post(JOBS, json=config | {"dataset": [config["dataset"], text]})
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "dataset_kind_mismatch"


CANARY = "hf_canary"
GOOD = json.dumps(ROWS["messages"]).encode()


@pytest.mark.parametrize(
    ("content", "filename", "rule"),
    [
        (GOOD.replace(b'"user"', b'"wizard"'), "a.jsonl", "wrong_role"),
        (json.dumps(ROWS["preference"] | {"rejected": "Here."}).encode(), "a.jsonl", "equal_pair"),
        (json.dumps([ROWS["unpaired"], ROWS["unpaired"] | {"label": CANARY}]).encode(), "a.json", "wrong_label"),
        (GOOD.decode().encode("utf-16"), "a.jsonl", "invalid_utf8"),
        (b"[" + GOOD + b', {"messages": "' + CANARY.encode(), "a.json", "cut_off"),
        (b"[" + GOOD + b", " + CANARY.encode() + b"]", "a.json", "broken_json"),
        (GOOD + b"\n" + b'{"messages": NaN}', "a.jsonl", "non_finite_number"),
        (GOOD + b"\n" + b'{"id": "\\ud800"}', "a.jsonl", "lone_surrogate"),
        (b"prompt,completion\na," + CANARY.encode() + b",c\nd,e\n", "a.csv", "wrong_columns"),
        (b'prompt,completion\na,"' + CANARY.encode() + b'" x\nd,e\n', "a.csv", "broken_csv"),
        (b"PAR1" + CANARY.encode() + b"PAR1", "a.parquet", "damaged_file"),
        (gzip.compress(GOOD * 1000)[:-30], "a.jsonl.gz", "cut_off"),
        (gzip.compress(GOOD + (b" " * 1023 + b"\n") * 70 * 1024), "a.jsonl.gz", "too_large_unpacked"),
        (json.dumps({CANARY: CANARY}).encode(), "a.jsonl", "unknown_shape"),
    ],
)
def test_a_bad_file_is_refused_by_its_rule_and_not_repeated(client, settings, content, filename, rule):
    refused = upload(client, content, filename)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (422, "dataset_invalid")
    assert f"[{rule}]" in error["message"]
    assert CANARY not in refused.text
    assert not [path for path in (settings.home / "buckets").rglob("*") if path.is_file()]
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"columns": "{"}, "columns"),
        ({"columns": "[]"}, "columns"),
        ({"columns": '{"prompt": 3}'}, "columns"),
        ({"columns": f'{{"{CANARY}": "x"}}'}, "columns"),
        ({"columns": '{"role.x": "' + CANARY + '"}'}, "columns"),
        ({"shape": CANARY}, "shape"),
    ],
)
def test_bad_columns_are_refused_before_the_file(client, params, param):
    refused = upload(client, GOOD, **params)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (422, "invalid_mapping", param)
    assert CANARY not in refused.text


def test_a_named_shape_keeps_the_rows_that_the_detected_one_skips(client, services):
    """The rows of both are stored, though file and shape are the same."""
    rows = [ROWS["prompt_completion"] | {"completion": f"Number {number}."} for number in range(4)]
    rows[1]["weight"] = 0.5
    skipping = upload(client, rows, accept_partial="true").json()
    whole = upload(client, rows, shape="prompt_completion").json()
    assert (skipping["num_rows"], whole["num_rows"], whole["is_duplicate"]) == (3, 4, False)
    for dataset in (skipping, whole):
        with services.store.read() as tx:
            record = tx.datasets.get(dataset["id"])
        with CanonicalFile.open(services.buckets.local_path(record.bucket, record.canonical)) as file:
            assert file.num_rows == dataset["num_rows"]
