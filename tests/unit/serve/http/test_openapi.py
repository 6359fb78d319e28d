"""The bodies of requests are in the API's description."""

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
