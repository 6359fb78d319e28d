"""Query parameters that nobody knows are refused where ours are strict, and left alone elsewhere."""

import json
import re

import pytest

from tests.unit.serve.conftest import ROWS

CANARY = "canary"


@pytest.mark.parametrize(
    ("method", "path", "name", "hint"),
    [
        ("POST", "/api/datasets", "acept_partial", " Did you mean 'accept_partial'?"),
        ("PUT", "/api/datasets", "buckets", " Did you mean 'bucket'?"),
        ("GET", "/api/datasets", "limits", " Did you mean 'limit'?"),
        ("GET", "/api/datasets/ds-1", "rows", ""),
        ("GET", "/api/datasets/ds-1/preview", "row", " Did you mean 'rows'?"),
        ("POST", "/api/datasets/ds-1/check", "max_lenght", " Did you mean 'max_length'?"),
        ("GET", "/api/datasets/ds-1/check.html", "eval_datset", " Did you mean 'eval_dataset'?"),
        ("GET", "/api/datasets/ds-1/tokens", "eval_dataset", ""),
        ("POST", "/api/training/jobs", "dry_run", ""),
        ("GET", "/api/training/jobs", "stauts", " Did you mean 'status'?"),
        ("GET", "/api/training/jobs/job-1/events", "kinds", " Did you mean 'kind'?"),
        ("GET", "/api/training/jobs/job-1/download/model", "checkpont", " Did you mean 'checkpoint'?"),
        ("GET", "/api/training/queue", "Limit", " Did you mean 'limit'?"),
        ("PUT", "/api/quota", "user", ""),
        ("POST", "/api/uploads", "name", ""),
        ("POST", "/api/models/check", "model", ""),
    ],
)
def test_a_parameter_that_a_path_does_not_have_is_named(client, services, method, path, name, hint):
    reply = client.request(method, path, params={name: CANARY}, content=ROWS, headers={"x-filename": "a.jsonl"})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (422, "unknown_parameter", name)
    assert error["message"] == f"{name} is not a query parameter of this path.{hint}"
    assert error["request_id"]
    assert not list((services.settings.home / "uploads").rglob("*")), "nothing of it was read"


@pytest.mark.parametrize("name", ["", "a b", "ключ", "x" * 65, "a\r\nb"])
def test_what_is_no_name_is_not_repeated(client, name):
    reply = client.get("/api/datasets", params={name: CANARY})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (422, "unknown_parameter", None)
    assert error["message"] == "The query has a parameter that does not exist."


def test_every_parameter_that_the_description_has_is_known(client):
    described = client.get("/openapi.json").json()["paths"]
    asked = 0
    for path, methods in described.items():
        for method, operation in methods.items():
            names = [field["name"] for field in operation.get("parameters", []) if field["in"] == "query"]
            asked += len(names)
            reply = client.request(method, path, params=dict.fromkeys(names, "1")) if names else None
            if reply is not None and reply.status_code >= 400 and method != "head":
                assert reply.json()["error"]["code"] != "unknown_parameter", (method, path)
    assert asked > 40


def test_a_wrong_value_of_a_parameter_is_refused_in_our_words(client):
    """Every parameter once of those that are described alike, with values of every kind that one of them refuses."""
    described = client.get("/openapi.json").json()["paths"]
    del described["/api/training/events/stream"]  # where the value is allowed, this reply has no end
    sentences, seen = {}, set()
    for path, methods in described.items():
        for method, operation in methods.items():
            for field in operation.get("parameters", []):
                if (alike := json.dumps([field["name"], field["in"], field["schema"]])) in seen:
                    continue
                seen.add(alike)
                for value in ("", "-1", "x", "1.5", "9" * 30, "9" * 20_000 if field["in"] == "query" else "9" * 1000):
                    if field["in"] == "query":
                        reply = client.request(method, path, params={field["name"]: value})
                    elif field["in"] == "header":
                        reply = client.request(method, path, headers={field["name"]: value})
                    else:
                        reply = client.request(method, path.replace(f"{{{field['name']}}}", value or "x"))
                    assert reply.status_code < 500
                    is_json = method != "head" and reply.headers.get("content-type") == "application/json"
                    error = reply.json()["error"] if is_json and reply.status_code == 422 else {}
                    if error.get("code") == "invalid_parameter":
                        sentences[field["name"]] = message = error["message"]
                        assert not re.search("(Input|Value|String|List) (should|error)|is not valid", message), message
                        assert len(message) < 200
    assert {"limit", "max_points", "kind", "include", "accept_partial", "sha256", "checkpoint"} <= sentences.keys()


@pytest.mark.parametrize("path", ["/health", "/ready", "/api/training/local/jobs", "/openapi.json", "/docs"])
def test_other_paths_leave_alone_what_they_do_not_know(client, path):
    assert client.get(path, params={"_": "1"}).status_code == client.get(path).status_code


def test_earlier_clients_and_links_may_say_more(client, dataset, config):
    for path in ("start", "execute"):
        reply = client.post(f"/api/training/{path}?source=app", content=json.dumps(config))
        assert reply.status_code == 201
    url = client.post(f"/api/datasets/{dataset['id']}/url").json()["url"]
    assert client.get(url, params={"utm_source": "mail"}).content == ROWS
