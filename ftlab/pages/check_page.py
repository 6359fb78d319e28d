"""A doctor's report as a page."""

from collections.abc import Iterator

from ftlab.formatting import counted
from ftlab.pages.document import bar, page, table, text
from ftlab.schemas.check_rules import CheckRule, Severity, severity_of
from ftlab.schemas.checks import CheckReport, CheckState

REFRESH_S = 2
_MARKS = {Severity.ERROR: "✗", Severity.WARNING: "!", Severity.INFO: "i"}


def check_page(report: CheckReport) -> str:
    """The whole report as one HTML document."""
    return page(f"Check of {_name(report)}", _body(report))


def waiting_page(state: CheckState) -> str:
    """The page shown while a check runs; it reloads itself."""
    share = f"{state.done_rows:,} of {state.total_rows:,} rows" if state.total_rows else "starting"
    return page("Checking", ["<h1>Checking the dataset</h1>", f"<p>{text(share)}</p>"], refresh_s=REFRESH_S)


def verdict(report: CheckReport) -> str:
    """The report in one sentence."""
    errors, warnings, infos = (report.count_of(severity) for severity in Severity)
    if errors:
        return f"Cannot train: {counted(errors, 'error')}. A job with this dataset would fail."
    if warnings:
        return f"OK to train: no errors, {counted(warnings, 'warning')}, {counted(infos, 'note')}."
    return f"OK to train: no errors, no warnings, {counted(infos, 'note')}."


def facts(report: CheckReport) -> list[tuple[str, str]]:
    """The figures of the report for people, each with its name."""
    found = [
        ("Rows", f"{report.num_rows:,}"),
        ("Tokens per epoch", f"{report.tokens_per_epoch:,}"),
        ("Trained tokens", f"{report.trained_tokens_per_epoch:,}"),
        ("Rows cut off", f"{report.num_truncated:,}"),
        ("Tokens cut off", f"{report.num_dropped_tokens:,}"),
        ("Rows without trained tokens", f"{report.num_untrained:,}"),
        ("99 % of rows fit in", f"{report.suggested_max_length:,} tokens"),
        (f"Padding, batch of {report.padding_batch_size}", f"{report.padding_fraction:.1%}"),
        ("Padding when packed", f"{report.packing_waste_fraction:.1%}"),
        (
            "Exact duplicates",
            ("about " if report.duplicates.is_exact_estimated else "") + f"{report.duplicates.num_exact:,}",
        ),
        ("Near duplicates", f"about {report.duplicates.num_near:,}" if report.duplicates.num_near else "0"),
    ]
    if overlap := report.overlap:
        about = "about " if overlap.is_exact_estimated else ""
        found.append(("Also in eval set", f"{about}{overlap.num_exact:,} of {overlap.num_eval_rows:,}"))
        found.append(("Near matches in eval set", f"about {overlap.num_near:,}" if overlap.num_near else "0"))
    return found


def _name(report: CheckReport) -> str:
    return report.dataset_name or report.dataset_id


def _body(report: CheckReport) -> Iterator[str]:
    trained_on = "the assistant's messages" if report.assistant_only_loss else "everything"
    yield f"<h1>Check of {text(_name(report))}</h1>"
    yield (
        f'<p class="soft">For <code>{text(report.model)}</code>, max_length {report.max_length:,}, training on '
        f"{trained_on}; rows of kind {text(report.kind)}.</p>"
    )
    yield f'<p class="{_class_of(report)}">{text(verdict(report))}</p>'
    yield '<dl class="facts">'
    yield from (f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts(report))
    yield "</dl>"
    yield "<h2>Findings by rule</h2>"
    yield table(("Severity", "Rule", "#Number", "What it means"), (_rule_row(*item) for item in report.counts.items()))
    yield from _lengths(report)
    yield "<h2>Roles</h2>"
    yield table(
        ("Role", "#Messages", "#Characters", "Scripts"),
        (
            (
                text(role.role),
                f"{role.num_messages:,}",
                f"{role.num_chars:,}",
                text(", ".join(f"{script} {number:,}" for script, number in role.scripts.items())),
            )
            for role in report.roles
        ),
    )
    yield f"<h2>Findings</h2>{_shown(report)}"
    yield table(
        ("Severity", "Rule", "#Row", "#Line", "Finding"),
        (
            (
                _severity(finding.severity),
                f"<code>{text(finding.rule)}</code>",
                text(_or_dash(finding.row)),
                text(_or_dash(finding.line)),
                text(finding.message),
            )
            for finding in report.findings
        ),
    )


def _lengths(report: CheckReport) -> Iterator[str]:
    lengths = report.lengths
    most = max((length_bin.num_rows for length_bin in lengths.bins), default=1)
    yield "<h2>Length of the rows in tokens</h2>"
    yield (
        f'<p class="soft">Mean {lengths.mean:,.1f}, median {lengths.p50:,}, 90 % up to {lengths.p90:,}, '
        f"99 % up to {lengths.p99:,}, longest {lengths.longest:,}.</p>"
    )
    yield table(
        ("#Tokens", "#Rows", ""),
        (
            (
                f"{length_bin.first:,} to {length_bin.last:,}",
                f"{length_bin.num_rows:,}",
                bar(length_bin.num_rows / most),
            )
            for length_bin in lengths.bins
        ),
    )


def _rule_row(rule: str, number: int) -> tuple[str, str, str, str]:
    known = next((known for known in CheckRule if known == rule), None)
    meaning = known.meaning if known else ""
    return _severity(severity_of(rule)), f"<code>{text(rule)}</code>", f"{number:,}", text(meaning)


def _severity(severity: str) -> str:
    known = next((known for known in Severity if known == severity), Severity.INFO)
    return f'<span class="{known}">{_MARKS[known]} {known.word}</span>'


def _class_of(report: CheckReport) -> str:
    return "error" if report.has_errors else "warning" if report.count_of(Severity.WARNING) else "info"


def _shown(report: CheckReport) -> str:
    if len(report.findings) == report.num_findings:
        return ""
    return f'<p class="soft">{len(report.findings):,} of {report.num_findings:,} are shown.</p>'


def _or_dash(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
