"""What an evaluation has measured, kept between its attempts."""

from pathlib import Path

from train.evaluation.judging import Judgement
from train.evaluation.measures import Answer
from train.evaluation.row_store import ANSWERS, PROGRESS_FILE, RowStore

BREAKS = "a\u2028b\u2029c\x85d\ne"


def test_answers_with_any_line_break_are_found_again(tmp_path: Path) -> None:
    answers = {row: Answer(f"{BREAKS}{row}", [1], is_cut=False) for row in (1, 2)}
    judged = {1: Judgement((0.5, 1.0), (BREAKS,))}
    store = RowStore(tmp_path)
    store.add(0, ANSWERS, answers)
    store.add(0, "judge_score", judged)
    store.close()
    with (tmp_path / PROGRESS_FILE).open("a", encoding="utf-8") as file:
        file.write('{"model": 0, "part": "answers", "row": 3, "text": "cut o')
    again = RowStore(tmp_path)
    assert (again.part(0, ANSWERS), again.part(0, "judge_score"), again.num_measured) == (answers, judged, 3)
