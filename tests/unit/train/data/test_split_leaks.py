from pathlib import Path

import numpy as np
import pytest

from train.data import split_leaks
from train.data.eval_split import FileSplit, RowSelection
from train.data.rows.canonical import Kind, write_canonical
from train.data.split_leaks import num_leaks

QUESTION = "Where on the first floor of the old library do I find the atlas of the northern rivers?"
OTHERS = [
    "How long may a visitor keep the key of the bicycle shed behind the station?",
    "Which of the two ferries to the island takes cars before eight in the morning?",
]


def written(path: Path, *questions: str) -> Path:
    with write_canonical(path, Kind.MESSAGES) as out:
        for line, question in enumerate(questions, 1):
            answer = {"role": "assistant", "content": "On the left."}
            out.write(line, {"messages": [{"role": "user", "content": question}, answer]})
    return path


def split(*is_eval: bool) -> FileSplit:
    flags = np.array(is_eval)
    return FileSplit(RowSelection(~flags), RowSelection(flags))


def test_rows_near_a_trained_one_of_any_file_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [
        written(tmp_path / "a", QUESTION, OTHERS[0], QUESTION + " Please."),
        written(tmp_path / "b", OTHERS[1], QUESTION.upper()),
    ]
    splits = [split(False, True, True), split(False, True)]
    assert num_leaks(files, splits, tmp_path) == 2
    assert num_leaks(files, [split(True, True, True), split(False, True)], tmp_path) == 0
    monkeypatch.setattr(split_leaks, "find_repeats", None)
    assert num_leaks(files, splits, tmp_path) == 2, "from the cache"
