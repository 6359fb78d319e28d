"""Whatever stands in a job's config is refused with a sentence, or means the same after every way it takes."""

import json

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig
from ftlab.schemas.job_file import parse_job_config, read_yaml
from serve.http.json_body import validate
from tests.unit.serve.http.test_any_body import CONFIGS, VALUES

FUZZ = settings(max_examples=150, deadline=None)


def small_changes():
    """A config that is accepted with a few fields replaced by any value."""
    good = {"model": "org/name", "dataset": "ds-1", "training": {}, "lora": {}, "method": {}, "resources": {}}
    return CONFIGS.map(lambda change: good | change)


def read(parse) -> JobConfig | None:
    """The config, or `None` for what was refused as it should be."""
    refusal = None
    try:
        return parse()
    except InvalidRequestError as error:
        refusal = error
    assert refusal.code in ("invalid_config", "invalid_body", "invalid_yaml")
    assert refusal.message
    return None


@given(document=CONFIGS | small_changes() | VALUES)
@example(document={"model": "org/name", "dataset": "ds-1"})
@FUZZ
def test_any_document_is_a_config_or_refused_with_a_sentence(document):
    config = read(lambda: parse_job_config(document))
    if config is None:
        return
    wire = json.loads(json.dumps(config.model_dump(mode="json")))
    assert JobConfig.model_validate(wire) == config
    assert parse_job_config(read_yaml(yaml.safe_dump(wire), "job.yaml"), "job.yaml") == config


@given(document=CONFIGS | small_changes())
@FUZZ
def test_the_service_refuses_what_the_client_refuses(document):
    """In the same words, or another code for what only the service knows."""
    try:
        mine = parse_job_config(document)
    except InvalidRequestError:
        with pytest.raises(InvalidRequestError):
            validate(JobConfig, json.dumps(document))
    else:
        assert validate(JobConfig, json.dumps(document)) == mine


@given(text=st.text(max_size=200) | VALUES.map(lambda value: yaml.safe_dump(value, allow_unicode=True)))
@FUZZ
def test_any_text_is_a_job_file_or_refused(text):
    read(lambda: parse_job_config(read_yaml(text, "job.yaml"), "job.yaml"))
