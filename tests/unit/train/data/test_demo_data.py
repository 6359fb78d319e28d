from pathlib import Path

import pytest

import serve
from tests.support.tiny_models import make_tiny_tokenizer
from train.data.convert import convert, read_rows
from train.data.tokens.encode import encode

DATA = Path(serve.__file__).parent / "demo" / "data"


def pairs(folder: Path, name: str) -> list[tuple[str, str]]:
    convert(DATA / name, folder / "rows.arrow", name)
    rows = list(read_rows(folder / "rows.arrow"))
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
def test_every_answer_has_the_style(tmp_path: Path, name: str):
    for _, answer in pairs(tmp_path, name):
        assert answer.startswith("Lab note: ")
        assert answer.endswith("\n- the Lab")
        assert 15 <= len(answer.split()) <= 40


def test_nothing_is_said_twice(tmp_path: Path):
    both = pairs(tmp_path, "support-train.jsonl") + pairs(tmp_path, "support-heldout.jsonl")
    assert len({question.casefold() for question, _ in both}) == len({answer for _, answer in both}) == 300
