"""`/api/templates`: what is listed, saved, refused, and trained from."""

from urllib.parse import quote

import pytest

from cluster.policy import Fleet
from ftlab.schemas.templates import BUILT_IN, MAX_CHARS, built_in_template, merged
from serve.jobs import templates
from tests.unit.serve.jobs.statuses import NOW

PATH, JOBS = "/api/templates", "/api/training/jobs"
TEXT = "# Support answers.\ntuning: lora   # small\ntraining: {max_steps: 30}\n"


def save(client, name, text):
    return client.put(f"{PATH}/{name}", json={"text": text})


def refusal(reply):
    error = reply.json()["error"]
    return reply.status_code, error["code"], error["param"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_job_from_every_built_in_template_is_accepted(client, config, coordinator, name):
    coordinator.fleet = Fleet.of_one(cpus=4)  # 'auto' depends on the devices
    found = client.get(f"{PATH}/{name}").json()
    assert found["text"] == built_in_template(name).text
    reply = client.post(JOBS, json=found["config"] | config)
    assert reply.status_code == 201, reply.text
    stored = reply.json()["config"]
    assert merged(stored, found["config"]) == stored, "every setting of the template is in the job"
    kinds = [event["data"].get("code") for event in client.get(f"{JOBS}/{reply.json()['id']}/events").json()["data"]]
    assert "setting_unused" not in kinds


def test_own_templates_follow_the_built_in_ones(client):
    assert save(client, "support", TEXT).status_code == 200
    listed = client.get(PATH).json()["data"]
    assert [found["name"] for found in listed] == [*BUILT_IN, "support"]
    assert [found["owner"] for found in listed] == [None] * len(BUILT_IN) + ["local"]
    assert all(found["description"] and "text" not in found for found in listed)
    assert listed[-1]["description"] == "Support answers."


def test_a_saved_template_keeps_its_comments_and_can_be_replaced(client):
    saved = save(client, "support", TEXT).json()
    assert saved == client.get(f"{PATH}/support").json()
    assert (saved["text"], saved["config"]) == (TEXT, {"tuning": "lora", "training": {"max_steps": 30}})
    assert save(client, "support", "priority: 3").json()["config"] == {"priority": 3}
    assert client.get(f"{PATH}/support").json()["description"] == ""
    assert client.delete(f"{PATH}/support").status_code == 204
    assert refusal(client.get(f"{PATH}/support")) == (404, "template_not_found", "name")
    assert refusal(client.delete(f"{PATH}/support")) == (404, "template_not_found", "name")


def test_a_built_in_template_cannot_be_changed(client):
    assert refusal(save(client, "qa", TEXT)) == (409, "template_built_in", "name")
    assert refusal(client.delete(f"{PATH}/qa")) == (409, "template_built_in", "name")
    assert client.get(f"{PATH}/qa").json()["owner"] is None


@pytest.mark.parametrize("name", ["Upper", "-x", ".x", "a b", "ä", "x" * 65, "a%0ab", "a\n", "q?a=1"])
def test_a_name_that_is_not_allowed(client, name):
    assert refusal(save(client, quote(name), TEXT)) == (422, "invalid_template_name", "name")


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("training: {max_stps: 3}", "unknown_field", "training.max_stps"),
        ("training: {max_steps: none}", "invalid_config", "training.max_steps"),
        ("training: {bf16: true, fp16: true}", "invalid_config", "training"),
        ("model: null", "invalid_model_id", "model"),
        ("load_in_4bit: true\ntuning: full", "invalid_config", None),
        ("- a", "invalid_config", "text"),
        ("# nothing", "invalid_config", "text"),
        ("tuning: [", "invalid_yaml", "text"),
        ("tuning: lora\ntuning: full", "invalid_yaml", "text"),
        ("a: &x [secret]\nb: *x", "invalid_yaml", "text"),
        ("a: !!timestamp secret", "invalid_yaml", "text"),
        ("[" * 3000, "invalid_yaml", "text"),
        ("lora: " + "{a: " * 40 + "1" + "}" * 40, "invalid_body", None),
        ("name: '\\0'\nmodel: \"\\0secret\"", "invalid_body", None),
        ('name: "\\uD800"', "invalid_body", None),
        ("priority: " + "9" * 5000, "invalid_yaml", "text"),
        ("training: {learning_rate: 1e999}", "invalid_body", None),
        ("trust_remote_code: true", "remote_code_not_allowed", "trust_remote_code"),
        ("", "invalid_body", "text"),
        ("#" * (MAX_CHARS + 1), "invalid_body", "text"),
    ],
)
def test_a_text_that_is_not_part_of_a_config(client, text, code, param):
    reply = save(client, "mine", text)
    status, found, field = refusal(reply)
    assert (found, field) == (code, param), reply.text
    assert status == (403 if code == "remote_code_not_allowed" else 422)
    assert "secret" not in reply.text
    assert refusal(client.get(f"{PATH}/mine"))[0] == 404


def test_the_place_of_a_yaml_error_is_named(client):
    assert "text, line 2, column 1: " in save(client, "mine", "tuning: lora\ntuning: full").json()["error"]["message"]


def test_a_limit_for_one_owner(client, monkeypatch):
    monkeypatch.setattr(templates, "MAX_TEMPLATES", 2)
    assert [save(client, name, TEXT).status_code for name in ("a", "b", "a")] == [200, 200, 200]
    assert refusal(save(client, "c", TEXT)) == (429, "quota_exceeded", None)
    client.delete(f"{PATH}/a")
    assert save(client, "c", TEXT).status_code == 200


def test_another_owners_template_is_not_there(client, store):
    with store.begin() as tx:
        tx.templates.save("ann", "mine", TEXT, now=NOW)
        tx.templates.save("local", "b", TEXT, now=NOW)
    assert refusal(client.get(f"{PATH}/mine"))[0] == refusal(client.delete(f"{PATH}/mine"))[0] == 404
    assert [found["name"] for found in client.get(PATH).json()["data"]][len(BUILT_IN) :] == ["b"]
