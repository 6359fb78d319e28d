import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from train.data.rows.errors import RowError, Rule
from train.data.shapes.shapes import Shape, fit, normalise

USER = {"role": "user", "content": "Where is the queue?"}
ANSWER = {"role": "assistant", "content": "On the first page."}
PAIR = {"messages": [USER, ANSWER]}


@pytest.mark.parametrize(
    ("row", "shapes"),
    [
        ({"messages": []}, {Shape.MESSAGES: 1}),
        ({"messages": "[]"}, {Shape.MESSAGES: 1}),
        ({"messages": {}}, {Shape.MESSAGES: 0.5}),
        ({"conversations": [], "id": 1}, {Shape.SHAREGPT: 1}),
        ({"instruction": "", "output": "", "input": ""}, {Shape.ALPACA: 1}),
        ({"prompt": "", "completion": ""}, {Shape.PROMPT_COMPLETION: 1}),
        ({"prompt": "", "completion": "", "label": True}, {Shape.PROMPT_COMPLETION: 1, Shape.UNPAIRED: 1}),
        ({"prompt": "", "completion": "", "label": "spam"}, {Shape.PROMPT_COMPLETION: 1, Shape.UNPAIRED: 0.5}),
        ({"prompt": "", "chosen": "", "rejected": ""}, {Shape.PREFERENCE: 1}),
        ({"chosen": [], "rejected": []}, {Shape.PREFERENCE: 1}),
        ({"chosen": "", "rejected": ""}, {Shape.PREFERENCE: 0.5}),
        ({"input": {}, "preferred_output": [], "non_preferred_output": []}, {Shape.OPENAI_DPO: 1}),
        ({"text": "x"}, {Shape.TEXT: 1}),
        ({"text": 1}, {Shape.TEXT: 0.5}),
        ({"question": "x"}, {}),
    ],
)
def test_the_fields_of_a_row_and_their_types_say_which_shapes_fit(row: Any, shapes: dict[Shape, float]):
    assert {shape: score for shape in Shape if (score := fit(row, shape))} == shapes


@pytest.mark.parametrize(
    ("row", "shape", "messages"),
    [
        (PAIR, Shape.MESSAGES, [USER, ANSWER]),
        (
            {"messages": [{"role": "developer", "content": "Be kind."}, USER, ANSWER], "id": 7},
            Shape.MESSAGES,
            [{"role": "system", "content": "Be kind."}, USER, ANSWER],
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "Where is "}, {"type": "text", "text": "it?"}],
                    },
                    ANSWER,
                ]
            },
            Shape.MESSAGES,
            [{"role": "user", "content": "Where is it?"}, ANSWER],
        ),
        (
            {
                "messages": [
                    USER,
                    ANSWER | {"weight": 0},
                    USER,
                    ANSWER | {"weight": 1},
                    USER,
                    ANSWER | {"weight": None},
                ]
            },
            Shape.MESSAGES,
            [USER, ANSWER | {"weight": 0}, USER, ANSWER | {"weight": 1}, USER, ANSWER],
        ),
        (
            {"messages": [USER | {"weight": 0, "name": "ann"}, ANSWER | {"refusal": None}]},
            Shape.MESSAGES,
            [USER, ANSWER],
        ),
        (
            {
                "system": "Be kind.",
                "conversations": [
                    {"from": "human", "value": "one"},
                    {"from": "gpt", "value": "two"},
                    {"from": "user", "value": "three"},
                    {"from": "bot", "value": "four"},
                ],
            },
            Shape.SHAREGPT,
            [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "two"},
                {"role": "user", "content": "three"},
                {"role": "assistant", "content": "four"},
            ],
        ),
        (
            {"instruction": "Add.", "input": "1 2", "output": "3", "system": "Count."},
            Shape.ALPACA,
            [
                {"role": "system", "content": "Count."},
                {"role": "user", "content": "Add.\n\n1 2"},
                {"role": "assistant", "content": "3"},
            ],
        ),
        (
            {"instruction": "Greet.", "input": "", "output": "Hi"},
            Shape.ALPACA,
            [{"role": "user", "content": "Greet."}, {"role": "assistant", "content": "Hi"}],
        ),
        (
            {"instruction": "Greet.", "input": " \n", "output": "Hi"},
            Shape.ALPACA,
            [{"role": "user", "content": "Greet."}, {"role": "assistant", "content": "Hi"}],
        ),
        (
            {"conversations": [{"role": "user", "content": "one"}, {"from": "gpt", "value": "two"}]},
            Shape.SHAREGPT,
            [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}],
        ),
        ({"messages": json.dumps(PAIR["messages"])}, Shape.MESSAGES, [USER, ANSWER]),
        (PAIR | {"system": " "}, Shape.MESSAGES, [USER, ANSWER]),
        (
            {"messages": [{"role": "system", "content": ""}, USER, ANSWER]},
            Shape.MESSAGES,
            [{"role": "system", "content": ""}, USER, ANSWER],
        ),
        (PAIR | {"system": "Be kind."}, Shape.MESSAGES, [{"role": "system", "content": "Be kind."}, USER, ANSWER]),
        (
            {"prompt": "one", "completion": " two"},
            Shape.PROMPT_COMPLETION,
            [{"role": "user", "content": "one"}, {"role": "assistant", "content": " two"}],
        ),
        (
            {"prompt": [USER, ANSWER, USER], "completion": [ANSWER]},
            Shape.PROMPT_COMPLETION,
            [USER, ANSWER | {"weight": 0}, USER, ANSWER],
        ),
    ],
)
def test_every_shape_becomes_messages(row: dict[str, Any], shape: Shape, messages: list[dict[str, Any]]):
    joined = {"is_joined": True} if isinstance(row.get("completion"), str) else {}
    assert normalise(row, shape) == {"messages": messages} | joined


def test_tools_and_calls_are_kept():
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "queue"}'}}
    tools = [{"type": "function", "function": {"name": "look"}}]
    row = {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "function", "name": "look", "tool_call_id": "c1", "content": ""},
            ANSWER,
        ],
        "tools": tools,
        "parallel_tool_calls": False,
    }
    assert normalise(row, Shape.MESSAGES) == {
        "messages": [
            USER,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "", "name": "look", "tool_call_id": "c1"},
            ANSWER,
        ],
        "tools": tools,
    }
    as_texts = row | {"tools": json.dumps(tools), "messages": json.dumps(row["messages"])}
    assert normalise(as_texts, Shape.MESSAGES) == normalise(row, Shape.MESSAGES)


def chat(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


def nested(levels: int) -> dict[str, Any]:
    return {"a": nested(levels - 1)} if levels else {}


def test_tools_may_be_nested():
    tools = [nested(60)]
    assert normalise(chat(USER, ANSWER) | {"tools": tools}, Shape.MESSAGES)["tools"] == tools


@pytest.mark.parametrize(
    ("row", "shape", "rule"),
    [
        (7, Shape.MESSAGES, Rule.NOT_AN_OBJECT),
        ({}, Shape.MESSAGES, Rule.MISSING_FIELD),
        ({"instruction": "x"}, Shape.ALPACA, Rule.MISSING_FIELD),
        ({"messages": {}}, Shape.MESSAGES, Rule.WRONG_TYPE),
        (chat(), Shape.MESSAGES, Rule.NO_MESSAGES),
        (chat("hello"), Shape.MESSAGES, Rule.WRONG_TYPE),
        (chat({"content": "x"}), Shape.MESSAGES, Rule.WRONG_ROLE),
        (chat({"role": "robot", "content": "x"}), Shape.MESSAGES, Rule.WRONG_ROLE),
        (chat({"role": ["user"], "content": "x"}), Shape.MESSAGES, Rule.WRONG_ROLE),
        (chat({"role": "user"}, ANSWER), Shape.MESSAGES, Rule.EMPTY_CONTENT),
        (chat({"role": "user", "content": " \n"}, ANSWER), Shape.MESSAGES, Rule.EMPTY_CONTENT),
        (chat({"role": "user", "content": []}, ANSWER), Shape.MESSAGES, Rule.EMPTY_CONTENT),
        (chat({"role": "user", "content": 3}, ANSWER), Shape.MESSAGES, Rule.WRONG_TYPE),
        (chat({"role": "user", "content": [{"type": "image_url"}]}, ANSWER), Shape.MESSAGES, Rule.WRONG_TYPE),
        (chat(USER, {"role": "assistant", "content": None}), Shape.MESSAGES, Rule.EMPTY_CONTENT),
        (
            chat(USER, {"role": "assistant", "content": "x", "tool_calls": "y"}),
            Shape.MESSAGES,
            Rule.WRONG_TYPE,
        ),
        (chat(USER), Shape.MESSAGES, Rule.NO_ASSISTANT),
        (chat(USER, ANSWER | {"weight": 2}), Shape.MESSAGES, Rule.WRONG_WEIGHT),
        (chat(USER, ANSWER | {"weight": True}), Shape.MESSAGES, Rule.WRONG_WEIGHT),
        (chat(USER, ANSWER) | {"tools": ["look"]}, Shape.MESSAGES, Rule.WRONG_TYPE),
        (chat(USER, ANSWER) | {"tools": [nested(64)]}, Shape.MESSAGES, Rule.TOO_DEEP),
        (chat(USER, ANSWER) | {"tools": [{"at": datetime(2024, 1, 1, tzinfo=UTC)}]}, Shape.MESSAGES, Rule.WRONG_TYPE),
        (chat(USER, ANSWER) | {"tools": [{"at": float("nan")}]}, Shape.MESSAGES, Rule.NON_FINITE_NUMBER),
        (chat(USER, ANSWER) | {"tools": "[{]"}, Shape.MESSAGES, Rule.BROKEN_JSON),
        ({"messages": "[1, NaN]"}, Shape.MESSAGES, Rule.NON_FINITE_NUMBER),
        ({"text": " "}, Shape.TEXT, Rule.EMPTY_CONTENT),
        ({"text": ["x"]}, Shape.TEXT, Rule.WRONG_TYPE),
        ({"conversations": "x"}, Shape.SHAREGPT, Rule.WRONG_TYPE),
        ({"conversations": []}, Shape.SHAREGPT, Rule.NO_MESSAGES),
        ({"conversations": ["x"]}, Shape.SHAREGPT, Rule.WRONG_TYPE),
        ({"conversations": [{"from": "narrator", "value": "x"}]}, Shape.SHAREGPT, Rule.WRONG_ROLE),
        ({"conversations": [{"from": "gpt", "value": ""}]}, Shape.SHAREGPT, Rule.EMPTY_CONTENT),
        ({"conversations": [{"from": "human", "value": "x"}]}, Shape.SHAREGPT, Rule.NO_ASSISTANT),
        ({"instruction": "x", "output": ""}, Shape.ALPACA, Rule.EMPTY_CONTENT),
        ({"instruction": "x", "input": 1, "output": "y"}, Shape.ALPACA, Rule.WRONG_TYPE),
        ({"prompt": "x", "completion": None}, Shape.PROMPT_COMPLETION, Rule.EMPTY_CONTENT),
        ({"prompt": "x", "completion": [ANSWER]}, Shape.PROMPT_COMPLETION, Rule.WRONG_TYPE),
        ({"prompt": [], "completion": [ANSWER]}, Shape.PROMPT_COMPLETION, Rule.NO_MESSAGES),
        (
            {"prompt": [USER, ANSWER], "completion": [ANSWER]},
            Shape.PROMPT_COMPLETION,
            Rule.PROMPT_LAST_MESSAGE,
        ),
        ({"prompt": [USER], "completion": [USER]}, Shape.PROMPT_COMPLETION, Rule.COMPLETION_FIRST_MESSAGE),
    ],
)
def test_a_broken_row_names_its_rule_in_one_sentence(row: Any, shape: Shape, rule: Rule):
    with pytest.raises(RowError) as caught:
        normalise(row, shape)
    assert caught.value.rule is rule
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


def test_the_sentence_says_where_and_does_not_quote():
    with pytest.raises(RowError, match=r"^messages\[2\]\.role must be one of system, developer, user") as caught:
        normalise(chat(USER, {"role": "secret-canary", "content": "x"}), Shape.MESSAGES)
    assert "canary" not in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.rule, again.message) == (caught.value.rule, caught.value.message)
