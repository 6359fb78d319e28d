"""Whatever JSON is posted, the answer is the client's to understand: never a fault of ours."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftlab.schemas import JobConfig, LoraConfig, Resources, SftMethod, TrainingConfig
from ftlab.schemas.requests import JobChange, Move, QuotaChange, Resume

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**320), max_value=10**320)
    | st.floats()
    | st.text(max_size=20)
    | st.text(st.characters(categories=["Cs", "Cc", "Cf"]), max_size=3)
    | st.sampled_from(["org/name", "job:job-abc", "model:mdl-1", "/etc", "sft", "all-linear", "1e5"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def documents(model, **parts):
    """Objects with the model's own field names, and now and then another one."""
    fields = {name: parts.get(name, VALUES) | VALUES for name in model.model_fields}
    return st.fixed_dictionaries({}, optional=fields | {"unknown": VALUES})


CONFIGS = documents(
    JobConfig,
    method=documents(SftMethod),
    lora=documents(LoraConfig),
    training=documents(TrainingConfig),
    resources=documents(Resources),
)


@given(body=CONFIGS | VALUES, path=st.sampled_from(["/api/training/jobs", "/api/training/start"]))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_answered_with_less_than_500(client, body, path):
    reply = client.post(path, content=json.dumps(body))
    assert reply.status_code < 500, reply.text
    if reply.status_code >= 400:
        assert set(reply.json()["error"]) == {"message", "type", "param", "code", "request_id"}


CHANGES = {
    ("PATCH", "/api/training/jobs/{job}"): JobChange,
    ("POST", "/api/training/jobs/{job}/resume"): Resume,
    ("POST", "/api/training/jobs/{job}/move"): Move,
    ("POST", "/api/training/jobs/{job}/pause"): Move,
    ("PUT", "/api/quota"): QuotaChange,
}


@given(change=st.sampled_from(list(CHANGES)), data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_is_answered_with_less_than_500(client, config, change, data):
    client.put("/api/quota", json={"max_queued_jobs": None, "max_disk_bytes": None})
    if not client.get("/api/training/jobs").json()["data"]:
        client.post("/api/training/jobs", json=config)
    job = client.get("/api/training/jobs").json()["data"][0]["id"]
    body = data.draw(documents(CHANGES[change]) | VALUES)
    method, path = change
    reply = client.request(method, path.format(job=job), content=json.dumps(body))
    assert reply.status_code < 500, reply.text
    if reply.status_code >= 400:
        assert set(reply.json()["error"]) == {"message", "type", "param", "code", "request_id"}


@given(path=st.text(max_size=60) | st.text("./\\step-0123456789%", max_size=30))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_checkpoint_path_is_answered_with_less_than_500(client, config, path):
    if not client.get("/api/training/jobs").json()["data"]:
        client.post("/api/training/jobs", json=config | {"name": "resting"})
    client.post("/api/training/jobs/resting/pause")
    reply = client.post("/api/training/resume/resting", params={"checkpoint_path": path})
    assert reply.status_code in ((202,) if path == "" else (404, 422)), reply.text


@given(raw=st.binary(max_size=200))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_answered_with_less_than_500(client, raw):
    assert 400 <= client.post("/api/training/jobs", content=raw).status_code < 500
    assert client.post("/api/datasets", content=raw, headers={"x-filename": "a.jsonl"}).status_code < 500
