"""Model references: one normal form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlab.errors import InvalidRequestError
from ftlab.model_ref import ModelRef, parse_model_ref


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("org/name", ModelRef("hub", "org/name")),
        ("Org-1/na.me_2@v1.0", ModelRef("hub", "Org-1/na.me_2", "v1.0")),
        ("org/name@refs/pr/1", ModelRef("hub", "org/name", "refs/pr/1")),
        ("/models/tiny", ModelRef("path", "/models/tiny")),
        ("/models//tiny/", ModelRef("path", "/models/tiny")),
        ("job:job-abc123", ModelRef("job", "job-abc123")),
        ("job:job-abc123/step-120", ModelRef("job", "job-abc123", step=120)),
        ("model:mdl-abc", ModelRef("model", "mdl-abc")),
        ("job:support v3", ModelRef("job", "support v3")),
        ("job:support v3/step-4", ModelRef("job", "support v3", step=4)),
        ("model:my model", ModelRef("model", "my model")),
        ("job:..x", ModelRef("job", "..x")),
    ],
)
def test_forms(text, ref):
    assert parse_model_ref(text) == ref
    assert parse_model_ref(str(ref)) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "../../etc/passwd",
        "/models/../etc/passwd",
        "/models/\0",
        "file:///x",
        "org/../name",
        "org/name/more",
        "job:",
        "job:a/b",
        "job:..",
        "job:../step-3",
        "model:.",
        "model:a/b",
        "job:a\nb",
        "job:" + "a" * 201,
        "job:job-abc/step-x",
        "model:",
        "org/name@",
        "a" * 10_000,
    ],
)
def test_refused(text):
    with pytest.raises(InvalidRequestError) as caught:
        parse_model_ref(text)
    assert caught.value.code == "invalid_model_id"
    assert caught.value.param == "model"


@given(st.text())
def test_any_text_is_read_or_refused_and_no_path_climbs(text):
    try:
        ref = parse_model_ref(text)
    except InvalidRequestError:
        return
    assert ".." not in ref.id.split("/")
    assert parse_model_ref(str(ref)) == ref
