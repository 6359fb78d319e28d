"""Reasons to refuse a row or a whole dataset: the rules, and the errors that name them."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from ftlab.errors import FineTuneLabError, InvalidRequestError

_OF_A_FILE = ("dataset_invalid", "dataset_content_missing", "chat_template_unsupported")
"""Codes of errors that are caused by one of a job's files."""


class Rule(StrEnum):
    """The name of a rule, as shown after each problem of a refused upload."""

    INVALID_UTF8 = "invalid_utf8"
    BROKEN_JSON = "broken_json"
    BROKEN_CSV = "broken_csv"
    CUT_OFF = "cut_off"
    DAMAGED_FILE = "damaged_file"
    TOO_LARGE_UNPACKED = "too_large_unpacked"
    REPEATED_KEY = "repeated_key"
    NON_FINITE_NUMBER = "non_finite_number"
    LONE_SURROGATE = "lone_surrogate"
    TOO_DEEP = "too_deep"
    ROW_TOO_LONG = "row_too_long"
    NOT_AN_ARRAY = "not_an_array"
    NOT_AN_OBJECT = "not_an_object"
    WRONG_COLUMNS = "wrong_columns"
    UNKNOWN_SHAPE = "unknown_shape"
    AMBIGUOUS_SHAPE = "ambiguous_shape"
    MIXED_SHAPES = "mixed_shapes"
    MISSING_FIELD = "missing_field"
    CONFLICTING_FIELDS = "conflicting_fields"
    UNSUPPORTED_FIELD = "unsupported_field"
    WRONG_TYPE = "wrong_type"
    WRONG_ROLE = "wrong_role"
    WRONG_WEIGHT = "wrong_weight"
    WRONG_LABEL = "wrong_label"
    EMPTY_CONTENT = "empty_content"
    NO_MESSAGES = "no_messages"
    TOO_MANY_MESSAGES = "too_many_messages"
    NO_ASSISTANT = "no_assistant"
    PROMPT_LAST_MESSAGE = "prompt_last_message"
    PROMPT_MISMATCH = "prompt_mismatch"
    COMPLETION_FIRST_MESSAGE = "completion_first_message"
    EQUAL_PAIR = "equal_pair"


MAX_SHOWN_CHARS = 60


def shown_name(name: str) -> str:
    """A field's name for a message: short, on one line, and valid Unicode."""
    short = name if len(name) <= MAX_SHOWN_CHARS else name[:MAX_SHOWN_CHARS] + "…"
    return "'" + "".join(char if char.isprintable() else "?" for char in short) + "'"


class RowError(Exception):
    """One row breaks one rule; `message` is a sentence that does not quote the row."""

    def __init__(self, rule: Rule, message: str) -> None:
        super().__init__(rule, message)
        self.rule = rule
        self.message = message

    def __str__(self) -> str:
        return self.message


class DatasetInvalidError(InvalidRequestError):
    """The dataset cannot be trained on; the message says where and why, without quoting its rows."""

    default_code = "dataset_invalid"


def rows_missing() -> DatasetInvalidError:
    return DatasetInvalidError("The dataset's converted rows are no longer there; upload the file again.")


@contextmanager
def named_file(dataset: str, *, is_eval: bool = False, is_split: bool = False) -> Iterator[None]:
    """Name the dataset in errors that one of a job's files causes; type, code and parameter stay the same.

    With `is_split`, the evaluation rows are a part of a training dataset.
    """
    try:
        yield
    except FineTuneLabError as error:
        if error.code not in _OF_A_FILE:
            raise
        name = f"Dataset {dataset}"
        if is_eval:
            name = f"The evaluation rows of dataset {dataset}" if is_split else f"The eval dataset {dataset}"
        raise type(error)(f"{name}: {error.message}", error.code, error.param) from error
