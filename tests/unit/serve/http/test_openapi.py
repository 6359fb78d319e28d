"""The bodies of requests are in the API's description."""

from ftlab.schemas.job_file import parse_job_config

BODIES = {
    "POST /api/training/jobs": "JobConfig",
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


def test_the_page_says_what_the_service_is_and_shows_a_job(client):
    document = client.get("/openapi.json").json()
    assert document["info"]["description"].startswith("API for queueing, running and monitoring fine-tuning jobs")
    assert document["info"]["version"] not in ("", "1")
    (example,) = document["components"]["schemas"]["JobConfig"]["examples"]
    assert parse_job_config(example).model == example["model"]
