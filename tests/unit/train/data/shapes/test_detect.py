import json
from typing import Any

import pytest

from ftlab.errors import InvalidRequestError
from train.data.rows.errors import DatasetInvalidError, RowError, Rule
from train.data.shapes import detect
from train.data.shapes.detect import Detection, Detector
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import Shape, normalise

CHAT = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}
PAIR = {"prompt": "x", "completion": "y"}


def detected(*rows: Any, mapping: ColumnMapping | None = None) -> Detection:
    detector = Detector(mapping.allowed if mapping else frozenset(Shape))
    for row in rows:
        detector.add(row)
    return detector.result()


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([CHAT, CHAT | {"id": 3}], Detection(Shape.MESSAGES, 1.0)),
        ([CHAT, CHAT, CHAT, {"messages": 3}], Detection(Shape.MESSAGES, 0.875)),
        ([CHAT, CHAT, CHAT, {"note": 3}], Detection(Shape.MESSAGES, 0.75)),
        ([CHAT, CHAT, PAIR, None, 7], Detection(Shape.MESSAGES, 0.667, Shape.PROMPT_COMPLETION)),
        ([PAIR, CHAT, PAIR], Detection(Shape.PROMPT_COMPLETION, 0.667, Shape.MESSAGES)),
        # A rendered text beside the messages, as many published sets have it.
        ([CHAT | {"text": "x y"}], Detection(Shape.MESSAGES, 0.9, Shape.TEXT)),
        ([PAIR | {"label": True}], Detection(Shape.UNPAIRED, 0.9, Shape.PROMPT_COMPLETION)),
        # One bad label among good ones makes no other shape of them.
        (
            [PAIR | {"label": True}] * 3 + [PAIR | {"label": "spam"}],
            Detection(Shape.UNPAIRED, 0.775, Shape.PROMPT_COMPLETION),
        ),
        # A label of another sort is no verdict.
        ([PAIR | {"label": "spam"}], Detection(Shape.PROMPT_COMPLETION, 1.0, Shape.UNPAIRED)),
        ([{"text": "x"}], Detection(Shape.TEXT, 1.0)),
        ([[], None, "x"], Detection(None, 0.0)),
        ([], Detection(None, 0.0)),
    ],
)
def test_the_shape_comes_with_a_confidence_and_an_alternative(rows: list[Any], found: Detection):
    assert detected(*rows) == found


@pytest.mark.parametrize(
    ("row", "shapes"),
    [
        (CHAT | {"prompt": "x", "chosen": "y", "rejected": "z"}, "'messages' or as 'preference'"),
        (PAIR | {"instruction": "x", "output": "y"}, "'alpaca' or as 'prompt_completion'"),
    ],
)
def test_two_shapes_in_the_same_rows_are_refused_with_the_way_out(row: dict[str, Any], shapes: str):
    with pytest.raises(DatasetInvalidError) as caught:
        detected(row, row, {})
    first = shapes.split("'")[1]
    assert caught.value.message == (
        f"The rows can be read as {shapes}. Choose one with shape={first} (--shape {first}). [ambiguous_shape]"
    )
    assert detected(row, mapping=ColumnMapping.parse(first, None)).shape == first


CHATS = [CHAT["messages"], [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]]


@pytest.mark.parametrize(
    ("row", "example"),
    [
        ({"question": "x", "answer": "y"}, {"prompt": "question", "completion": "answer"}),
        ({"query": "x", "response": "y"}, {"prompt": "query", "completion": "response"}),
        ({"input": "x", "target": "y"}, {"prompt": "input", "completion": "target"}),
        # Dolly, rows for reading a text, OpenOrca: no column may get lost.
        ({"instruction": "x", "context": "c", "response": "y"}, {"input": "context", "output": "response"}),
        (
            {"question": "x", "context": "c", "answer": "y"},
            {"instruction": "question", "input": "context", "output": "answer"},
        ),
        ({"input": "x", "context": "c", "output": "y"}, {"instruction": "input", "input": "context"}),
        ({"instruction": "x", "input": "c", "response": "y"}, {"output": "response"}),
        (
            {"system_prompt": "s", "question": "x", "response": "y"},
            {"prompt": "question", "completion": "response", "system": "system_prompt"},
        ),
        # LMSYS.
        *(({"conversation": chat, "turn": 1}, {"messages": "conversation"}) for chat in CHATS),
        ({"dialog": json.dumps(CHATS[0])}, {"messages": "dialog"}),
    ],
)
def test_rows_without_a_known_shape_get_an_example_of_a_mapping_that_loses_nothing(
    row: dict[str, Any], example: dict[str, str]
):
    with pytest.raises(DatasetInvalidError) as caught:
        detected(row)
    options = " ".join(f"--column {field}={column}" for field, column in example.items())
    assert f"for example columns={json.dumps(example)} ({options}). [unknown_shape]" in caught.value.message
    assert "'prompt' and 'completion'" in caught.value.message
    _, normal = mapped(row, example)
    words = " ".join(message["content"] for message in normal["messages"])
    assert all(value in words for value in row.values() if isinstance(value, str) and len(value) == 1)


@pytest.mark.parametrize(
    ("row", "example", "given"),
    [
        ({"secret-canary": 1}, {"prompt": "COLUMN", "completion": "COLUMN"}, {}),
        ({"question": "secret-canary"}, {"prompt": "question", "completion": "COLUMN"}, {}),
        ({"context": "x"}, {"prompt": "COLUMN", "completion": "COLUMN"}, {}),
        ({"history": ["secret-canary"], "chat": "[secret-canary"}, {"prompt": "COLUMN", "completion": "COLUMN"}, {}),
        # What the user has named already is not asked for again.
        ({"secret-canary": "x", "response": "y"}, {"completion": "response"}, {"prompt": "secret-canary"}),
        ({"secret-canary": "x", "worse": "y"}, {"rejected": "COLUMN"}, {"chosen": "secret-canary"}),
    ],
)
def test_an_example_names_no_column_that_the_file_does_not_have(
    row: dict[str, Any], example: dict[str, str], given: dict[str, str]
):
    mapping = ColumnMapping.parse(None, given)
    with pytest.raises(DatasetInvalidError) as caught:
        detected(mapping.apply(row), mapping=mapping)
    assert f"for example columns={json.dumps(example)} (--column " in caught.value.message
    assert "canary" not in caught.value.message


def test_fields_that_no_row_has_together_get_an_example_too():
    with pytest.raises(DatasetInvalidError, match=r"\(--column prompt=COLUMN --column completion=COLUMN\)"):
        detected({"prompt": "x"}, {"completion": "y"})


def test_it_is_sure_after_enough_rows_and_gives_up_after_many():
    detector = Detector()
    for number in range(detect.MAX_UNKNOWN_ROWS):
        assert not detector.is_sure, number
        detector.add({})
    assert detector.is_sure
    detector = Detector()
    for _ in range(detect.SAMPLE_ROWS):
        assert not detector.is_sure
        detector.add(CHAT)
    assert detector.is_sure


def mapped(row: dict[str, Any], columns: dict[str, str], shape: str | None = None) -> tuple[Shape | None, Any]:
    mapping = ColumnMapping.parse(shape, columns)
    renamed = mapping.apply(row)
    found = mapping.shape or detected(renamed, mapping=mapping).shape
    assert found is not None
    return found, normalise(renamed, found, mapping.reader())


def turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in zip(("user", "assistant"), contents, strict=False)]


@pytest.mark.parametrize(
    ("row", "columns", "shape", "normal"),
    [
        (
            {"question": "x", "answer": "y", "prompt": "other"},
            {"prompt": "question", "completion": "answer"},
            Shape.PROMPT_COMPLETION,
            {"messages": turns("x", "y")},
        ),
        ({"completion": "y", "q": "x"}, {"prompt": "q"}, Shape.PROMPT_COMPLETION, {"messages": turns("x", "y")}),
        # The column that stands for one field is not taken for another one of the same name.
        (
            {"input": "x", "output": "y"},
            {"instruction": "input"},
            Shape.ALPACA,
            {"messages": turns("x", "y")},
        ),
        (
            {"prompt": "y", "completion": "x"},
            {"prompt": "completion", "completion": "prompt"},
            Shape.PROMPT_COMPLETION,
            {"messages": turns("x", "y")},
        ),
        ({"body": "x", "messages": []}, {"text": "body"}, Shape.TEXT, {"text": "x"}),
        (
            {"q": "x", "a": "y", "b": "z"},
            {"prompt": "q", "chosen": "a", "rejected": "b"},
            Shape.PREFERENCE,
            {
                "prompt": turns("x"),
                "chosen": [{"role": "assistant", "content": "y"}],
                "rejected": [{"role": "assistant", "content": "z"}],
            },
        ),
        (
            {"q": "x", "a": "y", "ok": 1},
            {"prompt": "q", "completion": "a", "label": "ok"},
            Shape.UNPAIRED,
            {"prompt": turns("x"), "completion": [{"role": "assistant", "content": "y"}], "label": True},
        ),
        (
            {"dialog": [{"speaker": "Customer", "said": "x"}, {"speaker": "Agent", "said": "y"}]},
            {
                "messages": "dialog",
                "role": "speaker",
                "content": "said",
                "role.Customer": "user",
                "role.Agent": "assistant",
            },
            Shape.MESSAGES,
            {"messages": turns("x", "y")},
        ),
        (
            {"conversations": [{"from": "kunde", "value": "x"}, {"from": "gpt", "value": "y"}]},
            {"role.kunde": "user"},
            Shape.SHAREGPT,
            {"messages": turns("x", "y")},
        ),
    ],
)
def test_a_mapping_names_the_columns(row: dict[str, Any], columns: dict[str, str], shape: Shape, normal: Any):
    joined = (Shape.PROMPT_COMPLETION, Shape.PREFERENCE, Shape.UNPAIRED)
    normal = normal | ({"is_joined": True} if shape in joined else {})
    assert mapped(row, columns) == (shape, normal)
    assert mapped(row, columns, shape) == (shape, normal)


def test_a_row_without_the_mapped_column_says_so():
    with pytest.raises(RowError, match="no column 'question', which is mapped to 'prompt'") as caught:
        ColumnMapping.parse(None, {"prompt": "question"}).apply({"completion": "x"})
    assert caught.value.rule is Rule.MISSING_FIELD


def test_a_mapped_column_that_the_shape_can_do_without_need_not_be_in_every_row():
    row = {"instruction": "x", "output": "y"}
    assert mapped(row, {"instruction": "instruction", "input": "context"}) == (
        Shape.ALPACA,
        {"messages": turns("x", "y")},
    )
    # `input` alone may also mean a shape that needs it.
    mapping = ColumnMapping.parse(None, {"input": "context"})
    with pytest.raises(RowError, match="no column 'context', which is mapped to 'input'"):
        mapping.apply(row)
    assert mapping.apply(row, Shape.ALPACA) == row
    with pytest.raises(RowError, match="no column 'context', which is mapped to 'input'"):
        mapping.apply(row, Shape.OPENAI_DPO)


@pytest.mark.parametrize(
    ("shape", "columns", "sentence"),
    [
        ("chat", None, "shape must be one of messages, sharegpt"),
        (None, ["prompt"], "columns cannot be used: It must be an object of at most 64"),
        (None, {f"role.{number}": "user" for number in range(65)}, "at most 64"),
        (None, {"prompt": 3}, "Each column must be a text of 1 to 200 characters"),
        (None, {"prompt": ""}, "Each column must be a text of 1 to 200 characters"),
        (None, {"promt": "question"}, "a field that no shape has; the fields are chosen, completion,"),
        (None, {"role.": "user"}, "a field that no shape has"),
        (None, {"role.Customer": "customer"}, "'role.NAME' must be one of assistant, system, tool, user."),
        (None, {"text": "a", "chosen": "b"}, "No shape has all of these fields."),
        ("text", {"prompt": "a"}, "No shape has all of these fields."),
    ],
)
def test_a_mapping_that_cannot_be_used(shape: str | None, columns: Any, sentence: str):
    with pytest.raises(InvalidRequestError) as caught:
        ColumnMapping.parse(shape, columns)
    assert sentence in caught.value.message
    assert (caught.value.code, caught.value.param) == ("invalid_mapping", "shape" if shape == "chat" else "columns")


def test_prompts_are_detected_only_where_nothing_else_could_be_the_answer():
    rows = [{"prompt": "x"}, {"prompt": [{"role": "user", "content": "y"}], "system": "Be brief."}]
    assert detected(*rows) == Detection(Shape.PROMPT, 1.0)
    for rows in (
        [{"prompt": "x", "ground_truth": "y"}],
        [{"prompt": "x"}, {"prompt": "x", "id": 1}],
        [{"prompt": "x"}, {"answer": "y"}],
    ):
        with pytest.raises(DatasetInvalidError, match=r"with method 'grpo', choose shape=prompt \(--shape prompt\)"):
            detected(*rows)
    assert detected(PAIR, PAIR, {"prompt": "x"}) == Detection(Shape.PROMPT_COMPLETION, 0.667)
