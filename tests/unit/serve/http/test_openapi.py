"""The bodies of requests are in the API's description."""

import pytest

from ftlab.schemas.job_file import parse_job_config
from ftlab.schemas.methods import METHODS

BODIES = {
    "PATCH /api/training/jobs/{job_id}": "JobChange",
    "POST /api/training/jobs/{job_id}/resume": "Resume",
    "POST /api/training/jobs/{job_id}/move": "Move",
    "PUT /api/quota": "QuotaChange",
}


def test_every_body_is_described(client):
    paths = client.get("/openapi.json").json()["paths"]
    for route, model in BODIES.items():
        method, path = route.split(" ")
        body = paths[path][method.lower()]["requestBody"]
        assert body["content"]["application/json"]["schema"]["$ref"] == f"#/components/schemas/{model}"
        assert body.get("required", False) is (model != "Resume")


@pytest.mark.parametrize("path", ["/api/training/jobs", "/api/training/jobs/estimate"])
def test_a_job_of_any_kind_can_be_submitted_and_estimated(client, path):
    body = client.get("/openapi.json").json()["paths"][path]["post"]["requestBody"]
    kinds = body["content"]["application/json"]["schema"]["anyOf"]
    assert [kind["$ref"].rpartition("/")[2] for kind in kinds] == ["JobConfig", "EvaluationConfig", "ExportConfig"]
    assert body["required"] is True


def test_the_page_says_what_the_service_is_and_shows_a_job(client):
    document = client.get("/openapi.json").json()
    assert document["info"]["description"].startswith("API for queueing, running and monitoring fine-tuning jobs")
    assert document["info"]["version"] not in ("", "1")
    (example,) = document["components"]["schemas"]["JobConfig"]["examples"]
    assert parse_job_config(example).model == example["model"]


def test_each_setting_of_a_job_is_described(client):
    """Forms are built from the description, which has the docstrings of the fields."""
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    groups = ["JobConfig", "LoraConfig", "TrainingConfig", "Resources", *(method.__name__ for method in METHODS)]
    missing = [
        f"{group}.{name}"
        for group in groups
        for name, field in schemas[group]["properties"].items()
        if name != "type" and not field.get("description")
    ]
    assert not missing
    assert schemas["TrainingConfig"]["properties"]["seed"]["description"] == "Seed of all random numbers."
    # A docstring over several lines, of a field that a base class declares.
    assert schemas["DpoMethod"]["properties"]["max_length"]["description"].startswith("Most tokens of one row; ")
    assert schemas["DpoMethod"]["x-row-kinds"] == ["preference"]
