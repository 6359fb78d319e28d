"""The fields of one message besides its role and content: tool calls, reasoning, and whether it is trained."""

import json
from contextlib import suppress
from typing import Any

from train.data.rows.errors import RowError, Rule
from train.data.shapes.json_cells import decode_named, from_json_text, objects

CALLS = ("tool_calls", "function_call")
REASONING = ("reasoning_content", "reasoning", "thinking")
LOSS_FLAGS = ("weight", "train", "loss", "training")
"""OpenAI and Mistral write `weight`, Axolotl `training`; others write `train` or `loss`."""
TOOL_FIELDS = ("name", "tool_call_id")
MEDIA = ("images", "image", "videos", "video", "audios", "audio")
LOSS_DETAILS = ("train_detail", "training_detail")
"""Parts of a message to train, as Axolotl writes them."""


def one_of(value: dict[str, Any], names: tuple[str, ...], where: str) -> str | None:
    """The one of these fields that is not null or empty; raise `RowError` where there are two."""
    found = [name for name in names if value.get(name) not in (None, "", [])]
    if len(found) > 1:
        both = " and ".join(f"'{name}'" for name in found[:2])
        raise RowError(Rule.CONFLICTING_FIELDS, f"{where} has {both}, which mean the same; keep one.")
    return found[0] if found else None


def calls_of(message: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """The tool calls, also of a legacy `function_call`."""
    name = one_of(message, CALLS, where)
    if name is None:
        return []
    if name == "tool_calls":
        calls = objects(message[name], f"{where}.{name}")
        for number, call in enumerate(calls, 1):
            _check_arguments(call, f"{where}.{name}[{number}]")
        return calls
    return [called(from_json_text(message[name], f"{where}.{name}"), f"{where}.{name}")]


def calls_in(value: object, where: str) -> list[dict[str, Any]]:
    """The tool calls of a ShareGPT turn from `function_call`: an object with `name` and `arguments`, or a list."""
    value = from_json_text(value, where)
    calls = value if isinstance(value, list) and value else [value]
    return [called(call, where) for call in calls]


def called(function: object, where: str) -> dict[str, Any]:
    """The tool call of a function's name and arguments."""
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or "arguments" not in function:
        raise RowError(Rule.WRONG_TYPE, f"{where} is not an object with 'name' and 'arguments'.")
    _check_arguments(function, where)
    return objects([{"type": "function", "function": function}], where)[0]


def _check_arguments(call: dict[str, Any], where: str) -> None:
    """Raise `RowError` for arguments as JSON text whose value is ambiguous, such as a repeated key."""
    function = call.get("function", call)
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if isinstance(arguments, str):
        # Text that is not JSON is written as it is.
        with suppress(json.JSONDecodeError):
            decode_named(arguments, f"{where}.function.arguments" if "function" in call else f"{where}.arguments")


def reasoning_of(message: dict[str, Any], where: str) -> str | None:
    """The reasoning before the answer, under any of its names."""
    name = one_of(message, REASONING, where)
    if name is None:
        return None
    value = message[name]
    if not isinstance(value, str):
        raise RowError(Rule.WRONG_TYPE, f"{where}.{name} is not a text.")
    return None if value.isspace() else value


def weight_of(message: dict[str, Any], where: str) -> int | None:
    """1 where the message is trained, 0 where it is context; `None` where the message does not say."""
    for detail in LOSS_DETAILS:
        if message.get(detail):
            raise RowError(
                Rule.UNSUPPORTED_FIELD,
                f"{where}.{detail} marks parts of a message to train, which is not supported; use 'weight' for the "
                "whole message, or split it.",
            )
    name = one_of(message, LOSS_FLAGS, where)
    return None if name is None else _flag(message[name], f"{where}.{name}", may_be_bool=name != "weight")


def tool_fields_of(message: dict[str, Any], where: str) -> dict[str, str]:
    """The name of the tool that answers, and the id of the call."""
    found = {key: message[key] for key in TOOL_FIELDS if message.get(key) is not None}
    for key, value in found.items():
        if not isinstance(value, str):
            raise RowError(Rule.WRONG_TYPE, f"{where}.{key} is not a text.")
    return found


def refuse_media(value: dict[str, Any], where: str) -> None:
    """Refuse a row or a message that has images, videos or audio."""
    for name in MEDIA:
        if value.get(name) not in (None, "", [], {}):
            raise RowError(
                Rule.UNSUPPORTED_FIELD,
                f"{where} has the field '{name}', and only text can be trained; remove the field to train without it.",
            )


def _flag(value: object, where: str, *, may_be_bool: bool) -> int:
    if isinstance(value, bool) and may_be_bool:
        return int(value)
    if isinstance(value, bool) or value not in (0, 1):
        allowed = "true or false" if may_be_bool else "0 or 1"
        raise RowError(Rule.WRONG_WEIGHT, f"{where} must be {allowed}.")
    return 1 if value else 0
