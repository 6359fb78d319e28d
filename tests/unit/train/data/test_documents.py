"""Each example of the page on preparing data is what the page says it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import ROOT, Block, blocks
from tests.support.rows import read_rows
from train.data.convert import convert
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import FORMS, Shape

PAGE = ROOT / "docs" / "howto" / "bring-your-data.md"
EXAMPLES = [found for found in blocks(PAGE) if found.name is not None]
COLUMNS = {
    "messages": "dialog",
    "role": "speaker",
    "content": "said",
    "role.Customer": "user",
    "role.Agent": "assistant",
}


def example(name: str) -> Block:
    [found] = [found for found in EXAMPLES if found.name == name]
    return found


def rows_of(folder: Path, example: Block, mapping: ColumnMapping | None = None) -> tuple[Shape, list[dict[str, Any]]]:
    source, filename = folder / "source", "a.csv" if example.language == "text" else "a.jsonl"
    text = example.text if example.language == "text" else json.dumps(json.loads(example.text))
    source.write_text(text)
    done = convert(source, folder / "rows.arrow", filename, mapping=mapping)
    assert done.kind is FORMS[done.shape].kind
    return done.shape, list(read_rows(folder / "rows.arrow"))


def test_every_shape_has_an_example():
    assert {found.name.partition("-")[0] for found in EXAMPLES if found.name} - {"named"} == set(Shape)


@pytest.mark.parametrize("name", [found.name for found in EXAMPLES if found.name != "named-columns"])
def test_an_example_has_the_shape_that_it_is_shown_for(tmp_path: Path, name: str):
    shape, rows = rows_of(tmp_path, example(name))
    assert shape == name.partition("-")[0]
    assert rows


def test_what_the_page_says_about_the_examples(tmp_path: Path):
    _, (row,) = rows_of(tmp_path, example("messages-tools"))
    assert [message.get("weight") for message in row["messages"]] == [None, 0, None, None, None, None]
    assert row["messages"][3]["tool_calls"][0]["function"]["name"] == row["tools"][0]["function"]["name"] == "weather"
    _, rows = rows_of(tmp_path, example("prompt_completion-table"))
    assert [row["messages"][0]["content"] for row in rows] == ["The capital of France is", 'Say "hello" in German']
    _, (row,) = rows_of(tmp_path, example("preference-conversations"))
    assert row["prompt"] == [{"role": "user", "content": "Where?"}]


def test_the_columns_that_the_page_names(tmp_path: Path):
    page = PAGE.read_text("utf-8")
    assert all(f"--column {field}={column}" in page for field, column in COLUMNS.items())
    shape, rows = rows_of(tmp_path, example("named-columns"), ColumnMapping.parse(None, COLUMNS))
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    assert (shape, rows) == (Shape.MESSAGES, [{"messages": turns}])
