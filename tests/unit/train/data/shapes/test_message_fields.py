"""Fields that other tools write: each is read, or refused by its name."""

import json
from typing import Any

import pytest

from train.data.rows.errors import RowError, Rule
from train.data.shapes.refused_fields import refuse_unread
from train.data.shapes.shapes import Shape, normalise

USER = {"role": "user", "content": "Left of A-17?"}
ANSWER = {"role": "assistant", "content": "12."}
ARGUMENTS = '{"sku": "A-17"}'
FUNCTION = {"name": "stock_level", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"type": "function", "function": {"name": "stock_level", "arguments": ARGUMENTS}}


def chat(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": list(messages), **fields}


@pytest.mark.parametrize("content", [None, "One moment."])
def test_legacy_function_calls_become_the_row_of_the_modern_form(content: str | None):
    legacy = chat(
        USER,
        {"role": "assistant", "content": content, "function_call": CALL["function"]},
        {"role": "function", "name": "stock_level", "content": "12"},
        ANSWER,
        functions=[FUNCTION],
    )
    modern = chat(
        USER,
        {"role": "assistant", "content": content, "tool_calls": [CALL]},
        {"role": "tool", "name": "stock_level", "content": "12"},
        ANSWER,
        tools=[TOOL],
    )
    row = normalise(legacy, Shape.MESSAGES)
    assert row == normalise(modern, Shape.MESSAGES)
    assert (row["messages"][1]["tool_calls"], row["tools"]) == ([CALL], [TOOL])


@pytest.mark.parametrize("calls", [1, 2])
def test_a_sharegpt_function_call_is_a_tool_call_of_the_assistant(calls: int):
    call = {"name": "area", "arguments": {"a": 4, "b": 6}}
    turns = [
        {"from": "human", "value": "Area of a 4 by 6 field?"},
        {"from": "function_call", "value": json.dumps(call if calls == 1 else [call] * calls)},
        {"from": "observation", "value": '{"area": 24}'},
        {"from": "gpt", "value": "It is 24."},
    ]
    row = normalise({"conversations": turns, "tools": json.dumps([TOOL])}, Shape.SHAREGPT)
    assert row == {
        "messages": [
            {"role": "user", "content": "Area of a 4 by 6 field?"},
            {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}] * calls},
            {"role": "tool", "content": '{"area": 24}'},
            {"role": "assistant", "content": "It is 24."},
        ],
        "tools": [TOOL],
    }


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_kept_under_the_name_that_templates_read(name: str):
    row = normalise(chat(USER, ANSWER | {name: "Look it up."}), Shape.MESSAGES)
    assert row["messages"][1] == ANSWER | {"reasoning_content": "Look it up."}


@pytest.mark.parametrize("name", ["weight", "train", "loss", "training"])
@pytest.mark.parametrize("value", [0, 1])
def test_flags_of_the_loss_become_weights(name: str, value: int):
    flag: object = value if name == "weight" else bool(value)
    row = normalise(chat(USER, ANSWER | {name: flag}), Shape.MESSAGES)
    assert row["messages"][1] == ANSWER | {"weight": value}


@pytest.mark.parametrize("as_text", [False, True])
def test_the_history_of_alpaca_is_earlier_turns(as_text: bool):
    history = [["Name a river.", "The Rhine."], ["Where does it rise?", "In the Alps."]]
    row = {"instruction": "And its length?", "input": "", "output": "About 1,230 km.", "system": "Be brief."}
    row["history"] = json.dumps(history) if as_text else history
    assert [(message["role"], message["content"]) for message in normalise(row, Shape.ALPACA)["messages"]] == [
        ("system", "Be brief."),
        ("user", "Name a river."),
        ("assistant", "The Rhine."),
        ("user", "Where does it rise?"),
        ("assistant", "In the Alps."),
        ("user", "And its length?"),
        ("assistant", "About 1,230 km."),
    ]


def test_a_system_text_that_the_messages_repeat_is_kept_once():
    system = {"role": "system", "content": "Be brief."}
    assert normalise(chat(system, USER, ANSWER, system="Be brief."), Shape.MESSAGES)["messages"][0] == system


ALPACA = {"instruction": "x", "output": "y"}


@pytest.mark.parametrize(
    ("row", "shape", "rule", "named"),
    [
        (
            chat({"role": "system", "content": "Be kind."}, USER, ANSWER, system="Be brief."),
            Shape.MESSAGES,
            Rule.CONFLICTING_FIELDS,
            "The row has 'system', and its messages begin with another system message; keep one.",
        ),
        (
            chat(USER, ANSWER, tools=[TOOL], functions=[FUNCTION]),
            Shape.MESSAGES,
            Rule.CONFLICTING_FIELDS,
            "The row has 'tools' and 'functions', which mean the same; keep one.",
        ),
        (
            chat(USER, ANSWER | {"tool_calls": [CALL], "function_call": CALL["function"]}),
            Shape.MESSAGES,
            Rule.CONFLICTING_FIELDS,
            "messages[2] has 'tool_calls' and 'function_call', which mean the same; keep one.",
        ),
        (
            chat(USER, ANSWER | {"reasoning": "a", "thinking": "b"}),
            Shape.MESSAGES,
            Rule.CONFLICTING_FIELDS,
            "messages[2] has 'reasoning' and 'thinking', which mean the same; keep one.",
        ),
        (
            chat(USER, ANSWER | {"weight": 1, "train": False}),
            Shape.MESSAGES,
            Rule.CONFLICTING_FIELDS,
            "messages[2] has 'weight' and 'train', which mean the same; keep one.",
        ),
        (
            chat(USER, ANSWER | {"weight": 0.5}),
            Shape.MESSAGES,
            Rule.WRONG_WEIGHT,
            "messages[2].weight must be 0 or 1.",
        ),
        (
            chat(USER, ANSWER | {"train": "no"}),
            Shape.MESSAGES,
            Rule.WRONG_WEIGHT,
            "messages[2].train must be true or false.",
        ),
        (
            chat(USER, ANSWER | {"training_detail": [{"begin_offset": 0, "end_offset": 1, "train": True}]}),
            Shape.MESSAGES,
            Rule.UNSUPPORTED_FIELD,
            "messages[2].training_detail marks parts",
        ),
        (
            chat(USER, ANSWER | {"reasoning": 1}),
            Shape.MESSAGES,
            Rule.WRONG_TYPE,
            "messages[2].reasoning is not a text.",
        ),
        (
            chat(USER, ANSWER | {"function_call": "stock_level"}),
            Shape.MESSAGES,
            Rule.WRONG_TYPE,
            "messages[2].function_call is not an object with 'name' and 'arguments'.",
        ),
        (
            {"conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": "area(4, 6)"}]},
            Shape.SHAREGPT,
            Rule.WRONG_TYPE,
            "conversations[2].value is not an object with 'name' and 'arguments'.",
        ),
        (chat(USER, ANSWER, images=["a.png"]), Shape.MESSAGES, Rule.UNSUPPORTED_FIELD, "the field 'images'"),
        (chat(USER | {"audio": {"id": "x"}}, ANSWER), Shape.MESSAGES, Rule.UNSUPPORTED_FIELD, "the field 'audio'"),
        (
            chat({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ANSWER),
            Shape.MESSAGES,
            Rule.WRONG_TYPE,
            "messages[1].content[1] is not a text part but of type 'image_url'",
        ),
        (ALPACA | {"history": "earlier"}, Shape.ALPACA, Rule.WRONG_TYPE, "history is not a list of pairs"),
        (ALPACA | {"history": [["a"]]}, Shape.ALPACA, Rule.WRONG_TYPE, "history[1] is not a pair"),
        (ALPACA | {"history": [["a", 1]]}, Shape.ALPACA, Rule.WRONG_TYPE, "history[1] is not a text."),
        (ALPACA | {"history": [["a", "b"]] * 1001}, Shape.ALPACA, Rule.TOO_MANY_MESSAGES, "more than 1,000 pairs"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(row: dict[str, Any], shape: Shape, rule: Rule, named: str):
    with pytest.raises(RowError) as refused:
        normalise(row, shape)
    assert refused.value.rule is rule
    assert named in refused.value.message


@pytest.mark.parametrize(
    "field",
    [
        {"rejected": "No."},
        {"rejected_response": "No."},
        {"label": False},
        {"label": "False"},
        {"kto_tag": True},
        {"label": "Bad"},
    ],
    ids=str,
)
def test_a_verdict_on_the_answer_is_refused_where_the_answer_is_trained_regardless(field: dict[str, Any]):
    [name] = field
    with pytest.raises(RowError, match=f"The row has '{name}', .*--shape messages") as refused:
        refuse_unread(chat(USER, ANSWER, **field), Shape.MESSAGES)
    assert refused.value.rule is Rule.UNSUPPORTED_FIELD


@pytest.mark.parametrize(
    "row", [chat(USER, ANSWER, label=1), chat(USER, ANSWER, rejected=None), {"text": "x"}], ids=str
)
def test_a_class_or_an_empty_field_is_not_a_verdict(row: dict[str, Any]):
    refuse_unread(row, Shape.MESSAGES)
    refuse_unread({**row, "label": True}, Shape.TEXT)


HISTORY = [["Hi", "Hello!"]]


@pytest.mark.parametrize(
    ("shape", "field"),
    [
        (Shape.MESSAGES, {"history": HISTORY}),
        (Shape.MESSAGES, {"history": [USER, ANSWER]}),
        (Shape.PROMPT_COMPLETION, {"history": HISTORY}),
        (Shape.PREFERENCE, {"history": json.dumps(HISTORY)}),
        (Shape.UNPAIRED, {"history": "User: Hi"}),
        (Shape.MESSAGES, {"weight": 0}),
        (Shape.PROMPT_COMPLETION, {"weight": "0.5"}),
        (Shape.PREFERENCE, {"weight": 2}),
        (Shape.ALPACA, {"train": False}),
        (Shape.TEXT, {"loss": "False"}),
        (Shape.TEXT, {"training": 0}),
    ],
    ids=str,
)
def test_turns_and_weights_beside_the_fields_of_a_shape_are_refused_by_name(shape: Shape, field: dict[str, Any]):
    [name] = field
    with pytest.raises(RowError, match=f"The row has '{name}'.*--shape {shape}") as refused:
        refuse_unread(field, shape)
    assert refused.value.rule is Rule.UNSUPPORTED_FIELD


@pytest.mark.parametrize(
    ("shape", "field"),
    [
        (Shape.ALPACA, {"history": HISTORY}),
        (Shape.TEXT, {"history": "of Rome"}),
        (Shape.MESSAGES, {"history": []}),
        (Shape.MESSAGES, {"history": "[]"}),
        (Shape.MESSAGES, {"weight": 1, "train": True, "loss": 2.31, "training": None}),
        (Shape.TEXT, {"weight": float("nan"), "train": "a.csv", "loss": ""}),
        (Shape.TEXT, {"weight": "heavy"}),
    ],
    ids=str,
)
def test_a_field_that_changes_nothing_is_not_refused(shape: Shape, field: dict[str, Any]):
    refuse_unread(field, shape)


@pytest.mark.parametrize(
    ("message", "where"),
    [
        ({"tool_calls": [CALL, {"type": "function", "function": {"name": "f", "arguments": '{"a": 1, "a": 2}'}}]},
         "messages[2].tool_calls[2].function.arguments"),
        ({"tool_calls": [{"name": "f", "arguments": '{"a": {"b": 1, "b": 1}, "a": 2}'}]},
         "messages[2].tool_calls[1].arguments"),
        ({"function_call": {"name": "f", "arguments": '{"a": 1, "a": 2}'}}, "messages[2].function_call.arguments"),
    ],
)  # fmt: skip
def test_a_key_that_is_repeated_inside_arguments_is_refused(message: dict[str, Any], where: str):
    with pytest.raises(RowError) as refused:
        normalise(chat(USER, {"role": "assistant", **message}), Shape.MESSAGES)
    assert refused.value.rule is Rule.REPEATED_KEY
    assert refused.value.message.startswith(f"{where}: The key ")


def test_arguments_that_are_not_json_stay_as_they_are():
    call = {"type": "function", "function": {"name": "f", "arguments": "{a: 1"}}
    row = normalise(chat(USER, {"role": "assistant", "tool_calls": [call]}), Shape.MESSAGES)
    assert row["messages"][1]["tool_calls"] == [call]


@pytest.mark.parametrize("content", ["", " \n", None, "\u200b\ufeff", [{"type": "text", "text": "\u200b"}]])
@pytest.mark.parametrize("weight", [{}, {"weight": 1}, {"train": True}, {"reasoning_content": "Hm."}], ids=str)
def test_an_empty_answer_is_refused_unless_it_is_not_trained(content: Any, weight: dict[str, Any]):
    empty = {"role": "assistant", "content": content}
    with pytest.raises(RowError, match=r"messages\[2\].content is empty.*set its weight to 0") as refused:
        normalise(chat(USER, empty | weight, USER, ANSWER), Shape.MESSAGES)
    assert refused.value.rule is Rule.EMPTY_CONTENT
    row = normalise(chat(USER, empty | {"weight": 0}, USER, ANSWER), Shape.MESSAGES)
    assert row["messages"][1]["weight"] == 0
    row = normalise(chat(USER, empty | {"tool_calls": [CALL]}), Shape.MESSAGES)
    assert row["messages"][1]["tool_calls"] == [CALL]


@pytest.mark.parametrize("field", [{"tool_call_id": 7}, {"name": ["f"]}], ids=str)
def test_a_tool_name_or_id_that_is_not_a_text_is_refused(field: dict[str, Any]):
    [name] = field
    with pytest.raises(RowError, match=rf"messages\[2\].{name} is not a text"):
        normalise(chat(USER, {"role": "tool", "content": "12"} | field, ANSWER), Shape.MESSAGES)


def test_an_answer_in_a_prompt_cannot_ask_to_be_trained():
    row = {"prompt": [USER, ANSWER | {"weight": 1}, USER], "completion": [ANSWER]}
    with pytest.raises(RowError, match=r"prompt\[2\] has 'weight'.* never trained") as refused:
        normalise(row, Shape.PROMPT_COMPLETION)
    assert refused.value.rule is Rule.CONFLICTING_FIELDS


@pytest.mark.parametrize("value", [0, False, {}], ids=str)
def test_a_system_text_or_an_input_of_another_type_is_refused(value: Any):
    with pytest.raises(RowError, match="system is not a text"):
        normalise(chat(USER, ANSWER, system=value), Shape.MESSAGES)
    with pytest.raises(RowError, match="input is not a text"):
        normalise({"instruction": "x", "input": value, "output": "y"}, Shape.ALPACA)
