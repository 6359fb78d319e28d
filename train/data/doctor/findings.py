"""Collects findings: all are counted, few are kept."""

from collections import Counter
from collections.abc import Iterable
from itertools import zip_longest

from ftlab.schemas.check_rules import CheckRule, Severity
from ftlab.schemas.checks import Finding

_WORST_FIRST = list(Severity)


class Findings:
    """Keeps the first `max_findings` of every rule, so that memory is bounded."""

    def __init__(self, max_findings: int) -> None:
        self.max_findings = max_findings
        self._counts: Counter[CheckRule] = Counter()
        self._kept: dict[CheckRule, list[Finding]] = {}

    def add(self, rule: CheckRule, message: str, row: int | None = None, line: int | None = None) -> None:
        """Count a finding, and keep it unless the rule has enough. `row` counts from 1."""
        self._counts[rule] += 1
        kept = self._kept.setdefault(rule, [])
        if len(kept) < self.max_findings:
            kept.append(Finding(rule=rule, severity=rule.severity, message=message, row=row, line=line))

    def count(self, rule: CheckRule, number: int) -> None:
        """Count findings that are not kept."""
        self._counts[rule] += number

    def counts(self) -> dict[str, int]:
        """Number of findings by rule, errors first."""
        return {str(rule): self._counts[rule] for rule in sorted(self._counts, key=_badness) if self._counts[rule]}

    def chosen(self) -> list[Finding]:
        """The worst `max_findings` of all findings kept."""
        return worst((finding for kept in self._kept.values() for finding in kept), self.max_findings)


def worst(findings: Iterable[Finding], most: int) -> list[Finding]:
    """At most `most` findings: errors before warnings before notes, and within a severity all rules in turn.

    Choosing again from a choice gives the same findings as choosing fewer at once.
    """
    by_rule: dict[CheckRule, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(CheckRule(finding.rule), []).append(finding)
    chosen: list[Finding] = []
    for severity in _WORST_FIRST:
        lists = [by_rule[rule] for rule in sorted(by_rule) if rule.severity is severity]
        chosen += [finding for turn in zip_longest(*lists) for finding in turn if finding is not None]
    return sorted(
        chosen[:most], key=lambda finding: (_badness(CheckRule(finding.rule)), finding.rule, finding.row or 0)
    )


def _badness(rule: CheckRule) -> int:
    return _WORST_FIRST.index(rule.severity)
