"""Gathers findings: all are counted, few are kept."""

from collections import Counter
from itertools import zip_longest

from ftlab.schemas.check_rules import CheckRule, Severity
from ftlab.schemas.checks import Finding

_WORST_FIRST = list(Severity)


class Findings:
    """Keeps the first `max_findings` of every rule, so that the memory is bounded whatever the dataset."""

    def __init__(self, max_findings: int) -> None:
        self._max = max_findings
        self._counts: Counter[CheckRule] = Counter()
        self._kept: dict[CheckRule, list[Finding]] = {}

    def add(self, rule: CheckRule, message: str, row: int | None = None, line: int | None = None) -> None:
        """Count a finding, and keep it while there is room. `row` counts from 1."""
        self._counts[rule] += 1
        kept = self._kept.setdefault(rule, [])
        if len(kept) < self._max:
            kept.append(Finding(rule=rule, severity=rule.severity, message=message, row=row, line=line))

    def count(self, rule: CheckRule, number: int) -> None:
        """Count findings of which only some were added."""
        self._counts[rule] += number

    def counts(self) -> dict[str, int]:
        """By rule, the worst first."""
        return {str(rule): self._counts[rule] for rule in sorted(self._counts, key=_badness) if self._counts[rule]}

    def chosen(self) -> list[Finding]:
        """At most `max_findings`: errors before warnings before the rest, and among equals all rules in turn."""
        chosen: list[Finding] = []
        for severity in _WORST_FIRST:
            lists = [self._kept[rule] for rule in sorted(self._kept) if rule.severity is severity]
            chosen += [finding for turn in zip_longest(*lists) for finding in turn if finding is not None]
        shown = chosen[: self._max]
        return sorted(shown, key=lambda finding: (_badness(CheckRule(finding.rule)), finding.rule, finding.row or 0))


def _badness(rule: CheckRule) -> int:
    return _WORST_FIRST.index(rule.severity)
