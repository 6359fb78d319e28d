"""Whatever JSON is posted, the answer is the client's to understand: never a fault of ours."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftlab.schemas import JobConfig, LoraConfig, Resources, SftMethod, TrainingConfig

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
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_answered_with_less_than_500(client, body, path):
    reply = client.post(path, content=json.dumps(body))
    assert reply.status_code < 500, reply.text
    if reply.status_code >= 400:
        assert set(reply.json()["error"]) == {"message", "type", "param", "code", "request_id"}


@given(raw=st.binary(max_size=200))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_answered_with_less_than_500(client, raw):
    assert 400 <= client.post("/api/training/jobs", content=raw).status_code < 500
    assert client.post("/api/datasets", content=raw, headers={"x-filename": "a.jsonl"}).status_code < 500
