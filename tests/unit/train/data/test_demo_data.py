import json
from pathlib import Path

import pytest

import serve
from tests.support.rows import encode, read_rows
from tests.support.tiny_models import make_tiny_tokenizer
from train.data.convert import convert

DATA = Path(serve.__file__).parent / "demo" / "data"


def pairs(name: str) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]
    assert all([message["role"] for message in row["messages"]] == ["user", "assistant"] for row in rows)
    return [(row["messages"][0]["content"], row["messages"][1]["content"]) for row in rows]


@pytest.mark.parametrize(("name", "num_rows"), [("support-train.jsonl", 264), ("support-heldout.jsonl", 36)])
def test_the_sample_dataset_is_accepted_and_learned_whole(tmp_path: Path, name: str, num_rows: int):
    assert convert(DATA / name, tmp_path / "rows.arrow", name).num_rows == num_rows
    rows = read_rows(tmp_path / "rows.arrow")
    for row in encode(rows, make_tiny_tokenizer(), max_length=512, assistant_only_loss=True):
        assert row.num_tokens == len(row.input_ids)
        assert row.labels is not None


@pytest.mark.parametrize("name", ["support-train.jsonl", "support-heldout.jsonl"])
def test_every_answer_has_the_style(name: str):
    for _, answer in pairs(name):
        assert answer.startswith("Lab note: ")
        assert answer.endswith("\n- the Lab")
        assert 15 <= len(answer.split()) <= 40


def test_nothing_is_said_twice():
    both = pairs("support-train.jsonl") + pairs("support-heldout.jsonl")
    assert len({question.casefold() for question, _ in both}) == len({answer for _, answer in both}) == 300
