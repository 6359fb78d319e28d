"""What an evaluation has measured so far, in a file that survives its attempts."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from ftlab.lines import lines_in
from train.evaluation.cases import Skip
from train.evaluation.judging import Judgement
from train.evaluation.measures import Answer, Numbers
from train.evaluation.task_rows import TaskRow

Stored = Answer | Numbers | Skip | Judgement | TaskRow

PROGRESS_FILE = "measured.jsonl"
ANSWERS = "answers"
"""Name of the part of a model's work that generates answers; the others are named by a metric or a task."""


class RowStore:
    """Rows that are measured, by model and part: appended at once, and found again by the next attempt.

    A line that a killed attempt left half-written is the last one, and is measured again.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / PROGRESS_FILE
        self._found: dict[tuple[int, str], dict[int, Any]] = {}
        self._file: TextIO | None = None
        self._read()

    @property
    def num_measured(self) -> int:
        return sum(map(len, self._found.values()))

    def part(self, model: int, part: str) -> Mapping[int, Any]:
        """What is measured, by the number of the row: an `Answer`, the numbers of a loss, a `Skip`, a
        `Judgement`, or a `TaskRow`.
        """
        return self._found.get((model, part), {})

    def add(self, model: int, part: str, rows: Mapping[int, Stored]) -> None:
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
        for row, value in rows.items():
            entry = {"model": model, "part": part, "row": row} | _document(value)
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()
        self._found.setdefault((model, part), {}).update(rows)

    def close(self) -> None:
        if self._file is not None:
            # Only what a full disk refused in `add` can be left: the error was raised there, and must not be hidden.
            with contextlib.suppress(OSError):
                self._file.close()

    def _read(self) -> None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with self._path.open("r+b") as file:
                file.truncate(len(whole))
        for line in lines_in(whole.decode("utf-8")):
            entry = json.loads(line)
            self._found.setdefault((entry["model"], entry["part"]), {})[entry["row"]] = _value(entry)


def _document(value: Stored) -> dict[str, Any]:
    if isinstance(value, Judgement):
        return _document(value.numbers) | {"replies": list(value.replies)}
    if isinstance(value, Skip):
        return {"skipped": value}
    if isinstance(value, TaskRow):
        return {"answer": value.answer, "items": value.items}
    if isinstance(value, Answer):
        return {"text": value.text, "ids": list(value.ids), "is_cut": value.is_cut}
    return {"numbers": list(value)}


def _value(entry: Mapping[str, Any]) -> Stored:
    if "replies" in entry:
        numbers = Skip(entry["skipped"]) if "skipped" in entry else tuple(entry["numbers"])
        return Judgement(numbers, tuple(entry["replies"]))
    if "skipped" in entry:
        return Skip(entry["skipped"])
    if "items" in entry:
        return TaskRow(entry["answer"], entry["items"])
    if "numbers" in entry:
        return tuple(entry["numbers"])
    return Answer(entry["text"], entry["ids"], entry["is_cut"])
