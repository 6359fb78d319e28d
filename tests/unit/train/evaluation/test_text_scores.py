"""Scores of answers against values of the reference implementations."""

from random import Random
from time import process_time

import pytest

from train.evaluation.text_scores import Variant, f1, normalised, normalised_match, rouge

ROUGE = [
    ("The cat sat on the mat.", "A cat was sitting on the mat", 0.615384615385, 0.363636363636, 0.615384615385),
    ("police killed the gunman", "police kill the gunman", 0.75, 0.333333333333, 0.75),
    ("the gunman kill police", "police kill the gunman", 1.0, 0.333333333333, 0.5),
    ("", "a b c", 0.0, 0.0, 0.0),
    ("Yes.", "Yes.", 1.0, 0.0, 1.0),
    ("one two three four five six", "six five four three two one", 1.0, 0.0, 0.166666666667),
    ("don't stop 24/7!", "Do not stop, 24 7", 0.6, 0.5, 0.6),
    ("snake_case words", "snake case words", 1.0, 1.0, 1.0),
]
"""Answer, reference, and the F-measures of rouge-score 0.1.2 for rouge1, rouge2 and rougeL."""


@pytest.mark.parametrize(("answer", "reference", "one", "two", "longest"), ROUGE)
def test_rouge_is_that_of_google(answer: str, reference: str, one: float, two: float, longest: float):
    variants: list[tuple[Variant, float]] = [("rouge1", one), ("rouge2", two), ("rougeL", longest)]
    for variant, expected in variants:
        assert rouge(answer, reference, variant) == pytest.approx(expected, abs=1e-9)


def longest_common(one: list[str], other: list[str]) -> int:
    """By the usual table."""
    above = [0] * (len(other) + 1)
    for word in one:
        row = [0]
        for column, candidate in enumerate(other):
            row.append(above[column] + 1 if word == candidate else max(row[-1], above[column + 1]))
        above = row
    return above[-1]


def test_the_longest_common_subsequence_is_that_of_the_table():
    random = Random(1)
    for _ in range(300):
        one, other = (random.choices("abcdefgh"[: random.randint(1, 8)], k=random.randint(0, 90)) for _ in range(2))
        shared = longest_common(one, other)
        expected = 2 * shared / (len(one) + len(other)) if shared else 0.0
        assert rouge(" ".join(one), " ".join(other), "rougeL") == pytest.approx(expected)


def test_long_texts_take_little_time():
    """The table would have 400 million places."""
    words = Random(2).choices([f"w{number}" for number in range(500)], k=40_000)
    began = process_time()
    assert 0 < rouge(" ".join(words[:20_000]), " ".join(words[20_000:]), "rougeL") < 1
    assert process_time() - began < 10


def test_rouge_counts_words_of_every_alphabet():
    assert rouge("Привет, мир", "мир", "rouge1") == pytest.approx(2 / 3)
    assert rouge("की", "कि", "rouge1") == 0.0, "vowels are marks of a letter"
    assert rouge("e\u0301te\u0301", "ete", "rouge1") == 0.0


@pytest.mark.parametrize(
    ("answer", "reference", "match", "score"),
    [
        ("The Eiffel Tower!", "eiffel tower", 1.0, 1.0),
        ("in  Paris, a city", "Paris city in", 0.0, 1.0),
        ("Paris", "in Paris", 0.0, 2 / 3),
        ("London", "Paris", 0.0, 0.0),
        ("the", "", 1.0, 1.0),
        ("", "Paris", 0.0, 0.0),
        ("x x y", "x y y", 0.0, 2 / 3),
    ],
)
def test_normalised_match_and_f1_are_those_of_squad(answer: str, reference: str, match: float, score: float):
    assert normalised_match(answer, reference) == match
    assert f1(answer, reference) == pytest.approx(score)


def test_normalising_removes_case_punctuation_articles_and_space():
    assert normalised(" An  Apple's the-BEST, a\tfruit. ") == "apples thebest fruit"
