"""Documents, docstrings and messages are in plain English: phrases that readers stumbled over do not come back."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

from tests.support.repository import MARKDOWN, SOURCES, shown

AVOIDED = {
    r"\b(?:go|goes|going|went|gone) on\b": "continue, resume, keep running",
    r"\bgiven up\b": "discarded; timed out",
    r"\btalk(?:s|ed|ing)?\b": "messages; contact, connect to",
    r"\b(?:tell|tells|telling|told)\b": "report, show, describe",
    r"\bso many\b": "this many, the number of",
    r"\bwhoever\b": "anyone who",
    r"\banew\b": "again",
    r"\bfound out\b": "detected",
    r"\bread over\b": "ignored",
    r"(?<!there)(?<!\s) is no\b(?! longer)": "is not a",
    r"\bshall\b": "must, should, will",
    r"\bwish(?:es|ed)?\b": "request",
    r"\bwithout a word\b": "without an error message, without warning",
    r"\bwhat (?:came|comes|became|becomes) of\b": "the result of; whatever arrived",
    r"\b(?:is|are) always right\b": "is always allowed",
    r"\b(?:lie|lies)\b": "is in, is stored in",
    r"\bstands? (?:in|at|there|below)\b": "is in, is at",
    r"\bdevices back\b": "releases its devices",
    r"\bbeats? its heart\b": "sends heartbeats",
    r"\b(?:is|are|was|were) away\b": "is down, is unavailable, is unreachable",
    r"\btime (?:you gave )?is over\b": "timed out",
    r"\bmade up\b(?! of)": "generated",
    r"\blearned tokens?\b|\btokens? (?:to learn|learned)\b": "trained tokens",
    r"\bre-open": "reopen",
    r"\bdelivered (?:model|result)s?\b": "tuned model",
    r"\bnewest good\b": "newest intact",
    r"\bbut for\b": "except",
    r"\ball the same\b": "still, anyway",
    r"\w, as [`\"]": "such as, for example",
    r"\b(?:a|the|each|every|at|before) submits?\b": "submitting a job; when you submit a job",
    r"\b(?:refused|reported|named) by name\b": "refused, with an error that names it",
    r"\banother \w+(?: \w+)? than\b": "a different ... from; differs from",
    r"\bwait(?:s|ed|ing)? for (?:its|their|the) end\b": "wait until it ends",
    r"\bdecid(?:e|es|ed|ing) about\b": "determine, affect; decide on",
}
"""What is avoided (a space also matches a line break), and what to write instead."""


def prose_of_markdown(path: Path) -> str:
    """The text of a page on its lines, without its code blocks."""
    text = path.read_text("utf-8")
    return re.sub(r"^```.*?^```$", lambda code: "\n" * code[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)


def prose_of_python(path: Path) -> str:
    """The docstrings and the messages of a module, each from the line on which its text begins."""
    source = path.read_text("utf-8")
    lines = [""] * (source.count("\n") + 1)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for number, text in enumerate(node.value.split("\n"), node.lineno - 1):
                lines[min(number, len(lines) - 1)] += f" | {text}"
    return "\n".join(lines)


PROSE: dict[str, Callable[[Path], str]] = {".md": prose_of_markdown, ".py": prose_of_python}
"""Reads the prose of a file by its suffix: blank in place of all else, so that each word stays on its line."""

CHECKED = MARKDOWN + [path for path in SOURCES if "_sync" not in path.parts]  # `_sync` is generated from `_async`


def avoided_phrases(text: str) -> list[tuple[int, str, str]]:
    """Line number, phrase, and what to write instead."""
    found = []
    for pattern, instead in AVOIDED.items():
        for match in re.finditer(pattern.replace(" ", r"\s+"), text, re.IGNORECASE):
            phrase = match[0].strip()
            line = text.count("\n", 0, match.end() - len(match[0].lstrip())) + 1
            found.append((line, " ".join(phrase.split()), instead))
    return sorted(found)


def test_the_prose_has_no_phrase_that_is_avoided() -> None:
    messages = [
        f"{shown(path)}:{line}: instead of {phrase!r}, write: {instead}"
        for path in CHECKED
        for line, phrase, instead in avoided_phrases(PROSE[path.suffix](path))
    ]
    assert not messages, "\n".join(messages)


def test_a_phrase_is_found_on_its_line_and_across_lines() -> None:
    text = "A job\ngoes\n  on, as `x`.\nThere\nis no job, and it is no longer there. It is\nno job."
    assert [(line, phrase) for line, phrase, _ in avoided_phrases(text)] == [
        (2, "goes on"),
        (3, "n, as `"),
        (5, "is no"),
    ]


def test_code_blocks_are_no_prose(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("one\n```text\nIt goes on.\n```\nIt goes on.\n")
    assert [line for line, _, _ in avoided_phrases(prose_of_markdown(page))] == [5]


def test_docstrings_and_messages_are_prose_and_code_is_not(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        '"""One\nrun goes on."""\ngo = on = 1  # it goes on\nraise ValueError(f"{go} told {on}" "it goes on")\n'
    )
    assert [(line, phrase) for line, phrase, _ in avoided_phrases(prose_of_python(module))] == [
        (2, "goes on"),
        (4, "goes on"),
        (4, "told"),
    ]
