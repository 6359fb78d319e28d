"""The analysis of a failure as text: for the terminal, and as Markdown."""

import textwrap
from collections.abc import Iterator

from ftlab.schemas.failures import FailureAnalysis, Suggestion


def failure_lines(analysis: FailureAnalysis, width: int) -> list[str]:
    """The analysis in lines of at most `width` characters, where its words allow it."""
    return [line.rstrip() for line in _lines(analysis, width)]


def failure_markdown(analysis: FailureAnalysis) -> str:
    """The analysis as a Markdown page."""
    parts = [f"# Why attempt {analysis.attempt} failed", analysis.sentence, _cause(analysis)]
    if analysis.evidence:
        parts += ["## Evidence", "\n".join(f"- {_code(line)}" for line in analysis.evidence)]
    if analysis.suggestions:
        parts.append("## Suggestions")
        parts += [_suggestion_markdown(number, found) for number, found in enumerate(analysis.suggestions, 1)]
    if analysis.resume_from is not None:
        parts += ["## Where to continue", f"Checkpoint `{analysis.resume_from.name}`. {analysis.resume_from.reason}"]
    return "\n\n".join(parts) + "\n"


def _lines(analysis: FailureAnalysis, width: int) -> Iterator[str]:
    yield from textwrap.wrap(analysis.sentence, width)
    yield ""
    yield from textwrap.wrap(_cause(analysis), width)
    if analysis.evidence:
        yield from ("", "Evidence")
        for line in analysis.evidence:
            yield from textwrap.wrap(line, width, initial_indent="  - ", subsequent_indent="    ")
    if analysis.suggestions:
        yield from ("", "Suggestions")
        for number, found in enumerate(analysis.suggestions, 1):
            yield from _suggestion(number, found, width)
    if analysis.resume_from is not None:
        yield ""
        where = f"Continue from checkpoint {analysis.resume_from.name}. {analysis.resume_from.reason}"
        yield from textwrap.wrap(where, width)


def _suggestion(number: int, found: Suggestion, width: int) -> Iterator[str]:
    lead = f"  {number}. "
    for change in found.changes:
        yield f"{lead}{change.text}"
        lead = " " * len(lead)
    indent = " " * len(lead)
    yield from textwrap.wrap(f"{found.reason} {found.effect}", width, initial_indent=indent, subsequent_indent=indent)


def _suggestion_markdown(number: int, found: Suggestion) -> str:
    changes = ", ".join(f"`{change.text}`" for change in found.changes)
    return f"{number}. {changes}\n\n   {found.reason} {found.effect}"


def _cause(analysis: FailureAnalysis) -> str:
    phase = f", phase: {analysis.phase}" if analysis.phase else ""
    attempt = f", attempt {analysis.attempt}" if analysis.attempt else ", before the first attempt"
    return f"Cause: {analysis.cause} ({analysis.confidence}), reason: {analysis.reason}{phase}{attempt}."


def _code(line: str) -> str:
    return f"`{line.replace('`', chr(39))}`"
