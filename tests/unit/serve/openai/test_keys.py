"""API keys in OpenAI's client: whose files and jobs it sees, and the errors that it raises."""

import openai as sdk
import pytest
from openai import OpenAI

from ftlab.schemas.accounts import Scope
from tests.unit.serve.accounts.with_keys import add_key
from tests.unit.serve.openai.conftest import upload
from tests.unit.serve.openai.test_jobs import create


def with_key(openai: OpenAI, headers: dict[str, str]) -> OpenAI:
    return openai.with_options(api_key=headers["authorization"].removeprefix("Bearer "))


def test_a_key_sees_the_records_of_its_owner_and_errors_have_the_classes_of_the_client(openai: OpenAI, store):
    ada, bob = (with_key(openai, add_key(store, user, Scope.TRAIN)) for user in ("ada", "bob"))
    reader = with_key(openai, add_key(store, "ada", Scope.READ))
    job = create(ada)
    assert job.organization_id == "org-ada"
    assert [each.id for each in reader.fine_tuning.jobs.list()] == [job.id]
    assert list(bob.fine_tuning.jobs.list()) == []
    assert list(bob.files.list()) == []
    for call, record in ((bob.fine_tuning.jobs.retrieve, job.id), (bob.files.retrieve, job.training_file)):
        with pytest.raises(sdk.NotFoundError):
            call(record)
    with pytest.raises(sdk.BadRequestError) as refused:
        create(bob, training_file=job.training_file)
    assert refused.value.code == "file_not_found"
    with pytest.raises(sdk.PermissionDeniedError) as denied:
        upload(reader)
    assert (denied.value.code, denied.value.type) == ("insufficient_scope", "invalid_request_error")
    with pytest.raises(sdk.AuthenticationError) as unknown:
        openai.models.list()
    assert (unknown.value.code, unknown.value.type) == ("invalid_api_key", "invalid_request_error")
