"""Rows that repeat others: equal ones exactly, alike ones nearly always, others never."""

import random
from pathlib import Path

import numpy as np
import pytest

from ftlab.schemas.check_rules import CheckRule
from tests.unit.train.data.doctor.doctor_rows import FIRST_LINE, chat, chats, check, sentence
from train.data.doctor import near_duplicates
from train.data.doctor.near_duplicates import Fingerprints, Repeats, find_repeats

RNG = random.Random(7)
TEXTS = [sentence(RNG, 60) for _ in range(1_000)]


def changed(text: str, num_words: int) -> str:
    words = text.split()
    for place in RNG.sample(range(len(words)), num_words):
        words[place] = f"other{RNG.randrange(10_000)}"
    return " ".join(words)


def fingerprints_of(*texts: str, batch: int = 300) -> Fingerprints:
    made = Fingerprints()
    for start in range(0, len(texts), batch):
        made.add(texts[start : start + batch], texts[start : start + batch])
    return made


def repeats(*texts: str, batch: int = 300) -> Repeats:
    return find_repeats(fingerprints_of(*texts, batch=batch), Fingerprints())[0]


def shared(one: str, other: str) -> float:
    """The share of passages that two texts have in common (Jaccard), as the fingerprints see them."""
    sets = [
        {data[i : i + near_duplicates.WINDOW] for i in range(len(data) - near_duplicates.WINDOW + 1)}
        for data in (near_duplicates._plain(one), near_duplicates._plain(other))
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_equal_rows_are_found_with_the_first_of_them(tmp_path: Path):
    rows = chats(20)
    report = check(tmp_path, [*rows, rows[4], rows[4], rows[0]])
    assert report.duplicates.num_exact == report.counts["exact_duplicate"] == 3
    found = [(f.row, f.line) for f in report.findings if f.rule == CheckRule.EXACT_DUPLICATE]
    assert found == [(number, FIRST_LINE + number - 1) for number in (21, 22, 23)]
    first = next(f.message for f in report.findings if f.rule == CheckRule.EXACT_DUPLICATE)
    assert f"row 5 (line {FIRST_LINE + 4})" in first
    assert report.duplicates.num_near == 0, "what is equal is not counted as alike too"


def test_rows_that_differ_in_role_or_system_message_are_not_equal(tmp_path: Path):
    row = chat(TEXTS[0], TEXTS[1])
    told = {"messages": [{"role": "system", "content": "Be kind."}, *row["messages"]]}
    swapped = chat(TEXTS[1], TEXTS[0])
    report = check(tmp_path, [row, told, swapped])
    assert report.duplicates.num_exact == 0
    # The same words said to the same question, whatever the system message.
    assert [f.row for f in report.findings if f.rule == CheckRule.NEAR_DUPLICATE][:1] == [2]


@pytest.mark.parametrize(
    ("num_changed", "least", "most"), [(1, 0.95, 1.0), (2, 0.8, 1.0), (15, 0.0, 0.1), (60, 0.0, 0.0)]
)
def test_texts_are_alike_by_the_share_of_what_they_have_in_common(num_changed: int, least: float, most: float):
    others = [changed(text, num_changed) for text in TEXTS]
    pairs = repeats(*TEXTS, *others).near
    assert least <= len(pairs.rows) / len(TEXTS) <= most
    assert (pairs.originals == pairs.rows - len(TEXTS)).all(), "each is found with its own original"


def test_the_threshold_is_about_80_percent():
    found = {True: [], False: []}
    others = [changed(text, RNG.randrange(1, 20)) for text in TEXTS]
    near = set(repeats(*TEXTS, *others).near.rows.tolist())
    for number, (text, other) in enumerate(zip(TEXTS, others, strict=True), len(TEXTS)):
        found[number in near].append(shared(text, other))
    assert np.median(found[True]) > 0.8 > np.median(found[False])
    assert min(found[True]) > 0.5
    assert max(found[False]) < 0.97


def test_case_and_white_space_make_no_difference():
    texts = TEXTS[:50]
    assert len(repeats(*texts, *(text.upper().replace(" ", "\n ") for text in texts)).near.rows) == 50


@pytest.mark.parametrize("text", ["", "Yes.", "No, thank you.", "是的，没错。"])
def test_short_texts_are_like_no_other(text: str):
    assert len(repeats(text, text + "!", text + "?").near.rows) == 0


def test_any_script_can_be_alike():
    rng = random.Random(1)
    texts = ["".join(chr(rng.randrange(0x4E00, 0x9000)) for _ in range(200)) for _ in range(100)]
    others = [text[:100] + "新" + text[101:] for text in texts]
    assert len(repeats(*texts, *others).near.rows) > 90


def test_overlap_with_the_evaluation_rows_is_found(tmp_path: Path):
    rows = chats(30, num_words=60)
    near = chat(changed(rows[7]["messages"][0]["content"], 1), rows[7]["messages"][1]["content"])
    report = check(tmp_path, rows, eval_rows=[*chats(10, seed=9, num_words=60), rows[3], near])
    assert report.overlap is not None
    overlap = report.overlap
    assert (overlap.eval_dataset_id, overlap.num_eval_rows) == ("ds-eval", 12)
    assert (overlap.num_exact, overlap.num_near) == (1, 1)
    (equal,) = [f for f in report.findings if f.rule == CheckRule.EVAL_OVERLAP]
    assert (equal.row, equal.line) == (11, FIRST_LINE + 10)
    assert f"row 4 (line {FIRST_LINE + 3}) of the training dataset" in equal.message
    (alike,) = [f for f in report.findings if f.rule == CheckRule.EVAL_NEAR_OVERLAP]
    assert alike.row == 12


def test_a_dataset_overlaps_itself_wholly(tmp_path: Path):
    rows = chats(25)
    overlap = check(tmp_path, rows, eval_rows=rows).overlap
    assert overlap is not None
    assert (overlap.num_exact, overlap.num_near) == (25, 0)


def test_beyond_a_number_of_rows_exact_duplicates_are_estimated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(near_duplicates, "MAX_EXACT_HASHES", 2_000)
    texts = [f"row {number}" for number in range(20_000)]
    made = fingerprints_of(*texts, *texts[:10_000], batch=1_000)
    assert made.is_sampled
    assert made._num_hashes <= 2_000
    assert 8_000 < len(find_repeats(made, Fingerprints())[0].equal.rows) * made.scale < 12_000
    assert len(repeats(*texts[:1_000]).equal.rows) == 0


def test_near_ones_are_looked_for_among_the_first_rows_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(near_duplicates, "MAX_NEAR_ROWS", 500)
    made = fingerprints_of(*TEXTS[:400], *(changed(text, 1) for text in TEXTS[:400]))
    assert made.num_near_rows == 500
    assert 90 <= len(find_repeats(made, Fingerprints())[0].near.rows) <= 100


def test_without_rows_nothing_repeats():
    empty, full = Fingerprints(), fingerprints_of(*TEXTS[:3])
    for one, other in ((empty, full), (full, empty), (empty, empty)):
        for found in find_repeats(one, other):
            assert len(found.equal.rows) == len(found.near.rows) == 0


@pytest.mark.parametrize("which", ["training", "evaluation"])
def test_beyond_a_number_of_rows_the_overlap_is_estimated(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(near_duplicates, "MAX_EXACT_HASHES", 500)
    rows = chats(3_000, num_words=6)
    train, held_out = (rows, rows[:400]) if which == "training" else (rows[:400], rows)
    report = check(tmp_path, train, eval_rows=held_out)
    assert report.overlap is not None
    assert report.overlap.is_exact_estimated
    assert 280 < report.overlap.num_exact < 520
    assert report.counts["eval_overlap"] == report.overlap.num_exact
    assert report.overlap.num_near == 0, "what is equal is not counted as alike too"


def test_an_estimate_is_not_above_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(near_duplicates, "MAX_EXACT_HASHES", 5)
    rows = chats(200, num_words=6)
    for number in range(20, 40):
        overlap = check(tmp_path, rows, eval_rows=rows[:number]).overlap
        assert overlap is not None
        assert overlap.num_exact <= number


def test_a_small_overlap_is_no_estimate(tmp_path: Path):
    rows = chats(5)
    overlap = check(tmp_path, rows, eval_rows=rows[:2]).overlap
    assert overlap is not None
    assert not overlap.is_exact_estimated
