import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.formats import json_array, jsonl
from train.data.formats.json_array import parse_json_array
from train.data.rows.errors import RowError, Rule


def stream(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]


def parsed(data: bytes) -> list[tuple[int, Any]]:
    return [
        (number, value.rule if isinstance(value, RowError) else value)
        for number, value in parse_json_array(stream(data))
    ]


def last_sentence(data: bytes) -> str:
    *_, (_, error) = parse_json_array(stream(data))
    assert isinstance(error, RowError)
    return error.message


@pytest.fixture(params=[3, 7, 64])
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text must read the same through a window of any size."""
    monkeypatch.setattr(json_array, "WINDOW_BYTES", request.param)


ROWS = [{"a": "grüße ☃ 😀", "b": [1, -2.5e3, True, None]}, {"deep": {"er": ['"]},{[', "\\"]}}, 12345, "x", []]


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_every_element_is_read(indent: int | None, ascii_only: bool):
    data = json.dumps(ROWS, indent=indent, ensure_ascii=ascii_only).encode()
    for text in (data, b"\xef\xbb\xbf \r\n" + data + b"\r\n\t "):
        assert parsed(text) == list(enumerate(ROWS, 1))


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"[]", []),
        (b" [ \n ] ", []),
        (b"[1]", [(1, 1)]),
        (b"", [(1, Rule.NOT_AN_ARRAY)]),
        (b'{"a": 1}', [(1, Rule.NOT_AN_ARRAY)]),
        (b"[1] [2]", [(1, 1), (2, Rule.BROKEN_JSON)]),
        (b"[] x", [(1, Rule.BROKEN_JSON)]),
        (b"[1,]", [(1, 1), (2, Rule.BROKEN_JSON)]),
        (b"[1 2]", [(1, 1), (1, Rule.BROKEN_JSON)]),
        (b"[,1]", [(1, Rule.BROKEN_JSON)]),
        (b"[{]", [(1, Rule.BROKEN_JSON)]),
        (b"[tru]", [(1, Rule.BROKEN_JSON)]),
        (b'["\\x"]', [(1, Rule.BROKEN_JSON)]),
        (b'["a\nb"]', [(1, Rule.BROKEN_JSON)]),
        (b"[1", [(1, 1), (1, Rule.CUT_OFF)]),
        (b"[1,", [(1, 1), (2, Rule.CUT_OFF)]),
        (b"[", [(1, Rule.CUT_OFF)]),
        (b'[1, {"a": tr', [(1, 1), (2, Rule.CUT_OFF)]),
        (b'[1, {"a": "x', [(1, 1), (2, Rule.CUT_OFF)]),
        (b'[1, "\\u12', [(1, 1), (2, Rule.CUT_OFF)]),
        (b'[1, "\xe2\x98', [(1, 1), (2, Rule.CUT_OFF)]),
        (b'[1, "\xff", 2]', [(1, 1), (2, Rule.INVALID_UTF8)]),
        (b'[1, "\xed\xa0\x80"]', [(1, 1), (2, Rule.INVALID_UTF8)]),
    ],
)
def test_where_an_array_breaks_the_rest_is_given_up(data: bytes, found: list[tuple[int, Any]]):
    assert parsed(data) == found


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (b'{"a": [NaN, "}\\"]"]}', Rule.NON_FINITE_NUMBER),
        (b"-Infinity", Rule.NON_FINITE_NUMBER),
        (b"1e999", Rule.NON_FINITE_NUMBER),
        (b'{"a": "\\ud800", "b": {}}', Rule.LONE_SURROGATE),
        (b'"\\ud800"', Rule.LONE_SURROGATE),
        (b'{"n": ' + b"9" * 5000 + b"}", Rule.BROKEN_JSON),
    ],
)
def test_a_useless_row_does_not_hide_the_next(bad: bytes, rule: Rule):
    assert parsed(b"[1, " + bad + b' , {"b": 2}]') == [(1, 1), (2, rule), (3, {"b": 2})]
    assert parsed(b"[" + bad + b"]") == [(1, rule)]
    assert parsed(b"[" + bad) in ([(1, rule), (1, Rule.CUT_OFF)], [(1, Rule.CUT_OFF)])


def test_nesting_that_is_too_deep_does_not_hide_the_next():
    assert parsed(b"[" + b"[" * 100_000 + b"]" * 100_000 + b", 2]") == [(1, Rule.TOO_DEEP), (2, 2)]


@pytest.mark.usefixtures("window")
def test_a_row_that_is_too_long_is_named_and_skipped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsonl, "MAX_ROW_BYTES", 100)
    long = json.dumps({"a": ['\\"{[' * 100]}).encode()
    assert parsed(b"[1, " + long + b", 2]") == [(1, 1), (2, Rule.ROW_TOO_LONG), (3, 2)]
    assert parsed(b"[1, " + long[:-1]) == [(1, 1), (2, Rule.CUT_OFF)]


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b'[\n{"a": 1},\n  {"b" 2}]', "The JSON is broken at line 3, column 8: Expecting ':' delimiter."),
        (b'[{"a": 1}, {"b" 2}]', "The JSON is broken at line 1, column 17: Expecting ':' delimiter."),
        (
            b'[\n{"a": 1},\n  {"b": "xyz',
            "The file is cut off: it ends at line 3, column 13, inside row 2, which begins at line 3, column 3.",
        ),
        (
            '[{"ä": "☃"}, {"b": '.encode(),
            "The file is cut off: it ends at line 1, column 20, inside row 2, which begins at line 1, column 14.",
        ),
        (b"[1\n", "The file is cut off: it ends at line 2, column 1, after row 1, before the closing ']'."),
        (b'[1,\n"abc\xff"]', "The file is not valid UTF-8 at line 2, column 5."),
    ],
)
def test_the_break_is_named_exactly(data: bytes, sentence: str):
    assert last_sentence(data) == sentence


@pytest.mark.usefixtures("window")
def test_a_quote_that_is_missing_is_named_where_it_shows_however_much_follows():
    data = b'[{"a": "x"},\n{"a": "y, "b": 1},\n' + b'{"a": "z"},\n' * 200 + b'{"a": "end"}]'
    assert last_sentence(data) == "The JSON is broken at line 2, column 12: Expecting ',' delimiter."
    assert last_sentence(data[:-5]) == "The JSON is broken at line 2, column 12: Expecting ',' delimiter."


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize("end", [b"", b", 2]"])
def test_a_number_that_is_too_long_is_skipped_whole(monkeypatch: pytest.MonkeyPatch, end: bytes):
    monkeypatch.setattr(jsonl, "MAX_ROW_BYTES", 100)
    found = parsed(b"[1, " + b"9" * 1000 + end)
    assert found == ([(1, 1), (2, Rule.ROW_TOO_LONG), (3, 2)] if end else [(1, 1), (2, Rule.CUT_OFF)])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(rows=st.lists(json_values, max_size=6), size=st.integers(3, 40), cut=st.integers(0, 400), data=st.data())
def test_any_array_reads_as_json_does_and_cut_anywhere_its_first_rows_do(
    rows: list[Any], size: int, cut: int, data: st.DataObject
):
    rows = json.loads(json.dumps(rows).encode("utf-8", "replace").replace(b"\\ud", b"\\u0"))
    text = json.dumps(
        rows, indent=data.draw(st.sampled_from([None, 1])), ensure_ascii=data.draw(st.booleans())
    ).encode()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(json_array, "WINDOW_BYTES", size)
        assert parsed(text) == list(enumerate(rows, 1))
        *good, (_, error) = parsed(text[: min(cut, len(text) - 1)])
        assert error in (Rule.CUT_OFF, Rule.NOT_AN_ARRAY)
        assert [value for _, value in good] in (rows[: len(good)], [*rows[: len(good) - 1], good[-1][1] if good else 0])
