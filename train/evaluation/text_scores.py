"""Scores of an answer against a reference that no reward has: normalised match, F1 and ROUGE."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import regex

Variant = Literal["rouge1", "rouge2", "rougeL"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")


def normalised(text: str) -> str:
    """The text in lower case without punctuation, English articles and extra white space.

    As in the evaluation script of SQuAD 1.1 (Rajpurkar et al., 2016).
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def normalised_match(answer: str, reference: str) -> float:
    """Whether both texts are the same once normalised."""
    return float(normalised(answer) == normalised(reference))


def f1(answer: str, reference: str) -> float:
    """The harmonic mean of precision and recall of the answer's words, once normalised, as in SQuAD 1.1."""
    given, expected = normalised(answer).split(), normalised(reference).split()
    if not given or not expected:
        return float(given == expected)
    return _f_measure((Counter(given) & Counter(expected)).total(), len(given), len(expected))


def rouge(answer: str, reference: str, variant: Variant) -> float:
    """The F-measure of ROUGE (Lin, 2004): of shared words, of shared pairs of words, or of the longest common
    subsequence of words.

    Words are runs of letters, with their marks, and digits in lower case; for ASCII texts, these are those of Google's
    rouge-score.
    """
    given, expected = (_WORD.findall(text.lower()) for text in (answer, reference))
    if variant == "rougeL":
        return _f_measure(_longest_common(given, expected), len(given), len(expected))
    size = 1 if variant == "rouge1" else 2
    one, other = _grams(given, size), _grams(expected, size)
    return _f_measure((one & other).total(), one.total(), other.total())


def _grams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + size]) for start in range(len(words) - size + 1))


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, a whole row of the usual table at a time.

    A row is one number with a bit for each word of the shorter text, as Hyyrö describes ("Bit-parallel LCS-length
    computation revisited", 2004): two texts of 10,000 words take a fraction of a second, not minutes.
    """
    shorter, longer = sorted((one, other), key=len)
    places: dict[str, int] = {}
    for place, word in enumerate(shorter):
        places[word] = places.get(word, 0) | 1 << place
    whole = (1 << len(shorter)) - 1
    row = whole
    for word in longer:
        if mask := places.get(word, 0):
            found = row & mask
            row = (row + found | row - found) & whole
    return len(shorter) - row.bit_count()


def _f_measure(num_shared: int, num_given: int, num_expected: int) -> float:
    if not num_shared:
        return 0.0
    precision, recall = num_shared / num_given, num_shared / num_expected
    return 2 * precision * recall / (precision + recall)
