"""Files and uploads in parts, driven by the `openai` client."""

import hashlib
import io

import openai as sdk
import pytest
from openai import OpenAI

from serve.openai import uploads
from tests.unit.serve.openai.conftest import jsonl, upload


def test_a_file_is_uploaded_read_and_deleted(openai: OpenAI, tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl(3))
    file = openai.files.create(file=path, purpose="fine-tune")
    assert (file.filename, file.bytes, file.status, file.purpose) == (
        "train.jsonl",
        len(jsonl(3)),
        "processed",
        "fine-tune",
    )
    assert file.id.startswith("file-")
    assert openai.files.retrieve(file.id) == file
    assert openai.files.wait_for_processing(file.id) == file
    assert openai.files.content(file.id).read() == jsonl(3)
    assert openai.files.delete(file.id).deleted
    with pytest.raises(sdk.NotFoundError) as raised:
        openai.files.retrieve(file.id)
    assert (raised.value.code, raised.value.param) == ("file_not_found", "file_id")
    assert raised.value.request_id


def test_bytes_without_a_name_are_a_file(openai: OpenAI):
    assert openai.files.create(file=io.BytesIO(jsonl(2)), purpose="fine-tune").filename == "upload"


def test_files_are_listed_over_pages(openai: OpenAI):
    ids = [upload(openai, number) for number in range(1, 6)]
    assert [file.id for file in openai.files.list(limit=2)] == ids[::-1]
    assert [file.id for file in openai.files.list(limit=2, order="asc")] == ids
    assert [file.id for file in openai.files.list(purpose="batch")] == []


@pytest.mark.parametrize(
    ("content", "options", "param", "said"),
    [
        (b'{"messages": []}\n', {"purpose": "fine-tune"}, None, "line 1"),
        (jsonl(1), {"purpose": "assistants"}, "purpose", "fine-tune"),
        (
            jsonl(1),
            {"purpose": "fine-tune", "expires_after": {"anchor": "created_at", "seconds": 3600}},
            None,
            "expire",
        ),
    ],
)
def test_a_file_that_cannot_be_trained_on_is_refused_with_the_reason(openai: OpenAI, content, options, param, said):
    with pytest.raises(sdk.BadRequestError, match=said) as raised:
        openai.files.create(file=("bad.jsonl", io.BytesIO(content)), **options)
    assert raised.value.type == "invalid_request_error"
    assert param in (None, raised.value.param)
    assert list(openai.files.list()) == []


def test_a_large_file_is_uploaded_in_parts(openai: OpenAI):
    content = jsonl(50)
    done = openai.uploads.upload_file_chunked(
        file=content,
        filename="big.jsonl",
        bytes=len(content),
        mime_type="application/jsonl",
        purpose="fine-tune",
        part_size=1000,
        md5=hashlib.md5(content).hexdigest(),
    )
    assert done.status == "completed"
    assert done.file is not None
    assert openai.files.content(done.file.id).read() == content


def test_parts_are_put_together_in_the_order_that_the_client_names(openai: OpenAI):
    content = jsonl(4)
    begun = openai.uploads.create(
        bytes=len(content), filename="a.jsonl", mime_type="application/jsonl", purpose="fine-tune"
    )
    second = openai.uploads.parts.create(begun.id, data=content[100:])
    first = openai.uploads.parts.create(begun.id, data=content[:100])
    for wrong, param in (([first.id], "part_ids"), ([first.id, first.id], "part_ids"), (["part_x"], "part_ids")):
        with pytest.raises(sdk.BadRequestError) as raised:
            openai.uploads.complete(begun.id, part_ids=wrong)
        assert raised.value.param == param
    with pytest.raises(sdk.BadRequestError, match="md5"):
        openai.uploads.complete(begun.id, part_ids=[first.id, second.id], md5="0" * 32)
    with pytest.raises(sdk.BadRequestError, match="line 1"):
        openai.uploads.complete(begun.id, part_ids=[second.id, first.id])
    done = openai.uploads.complete(begun.id, part_ids=[first.id, second.id])
    again = openai.uploads.complete(begun.id, part_ids=[first.id, second.id])
    assert done.file is not None
    assert done.file == again.file
    assert openai.files.content(done.file.id).read() == content
    with pytest.raises(sdk.BadRequestError, match="takes no more parts"):
        openai.uploads.parts.create(begun.id, data=b"x")


def test_an_upload_that_is_cancelled_takes_no_more_parts(openai: OpenAI):
    begun = openai.uploads.create(bytes=10, filename="a.jsonl", mime_type="", purpose="fine-tune")
    assert begun.status == "pending"
    assert openai.uploads.cancel(begun.id).status == "cancelled"
    with pytest.raises(sdk.NotFoundError) as raised:
        openai.uploads.parts.create(begun.id, data=b"x")
    assert raised.value.code == "upload_not_found"


def test_a_part_is_limited(openai: OpenAI, monkeypatch):
    assert uploads.MAX_PART_BYTES == 64 * 1024**2
    monkeypatch.setattr(uploads, "MAX_PART_BYTES", 100)
    client = openai.with_options(max_retries=0)
    for num_bytes, limit in ((500, 100), (10, 10)):
        begun = client.uploads.create(bytes=num_bytes, filename="a.jsonl", mime_type="", purpose="fine-tune")
        with pytest.raises(sdk.APIStatusError, match=f"larger than {limit} bytes"):
            client.uploads.parts.create(begun.id, data=b"x" * (limit + 1))
    for _ in range(3):
        client.uploads.parts.create(begun.id, data=b"x" * 10)
    with pytest.raises(sdk.APIStatusError, match="twice the bytes"):
        client.uploads.parts.create(begun.id, data=b"x")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"purpose": "fine-tune", "colour": "red"}, "unknown_field"),
        ({"purpose": "x" * 2000}, "invalid_parameter"),
        ({}, "missing_field"),
    ],
)
def test_a_form_with_other_fields_is_refused(client, fields, code):
    reply = client.post("/v1/files", data=fields, files={"file": ("a.jsonl", jsonl(1))})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == code
