"""`ftlab datasets check` and `ftlab datasets tokens`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.exits import ExitCode
from ftlab.cli.records import DatasetArgument, datasets, find_dataset
from ftlab.cli.session import Session, command

if TYPE_CHECKING:
    from rich.text import Text

    from ftlab.schemas.checks import CheckReport, Token, TokenRow

ModelOption = Annotated[str, typer.Option("--model", metavar="REF", help="Base model, as in a job's config.")]
LengthOption = Annotated[int | None, typer.Option("--max-length", help="Maximum tokens per row, as in a job's config.")]
AllOption = Annotated[
    bool, typer.Option("--learn-everything", help="Count prompts in the loss too (assistant_only_loss: false).")
]
PackingOption = Annotated[bool, typer.Option("--packing", help="Rows are packed, so none is truncated.")]
HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Also write the report as an HTML page.", show_default=False),
]


@command(datasets, "check")
def check_dataset(
    session: Session,
    dataset: DatasetArgument,
    model: ModelOption,
    max_length: LengthOption = None,
    learn_everything: AllOption = False,
    packing: PackingOption = False,
    eval_dataset: Annotated[
        str | None,
        typer.Option(
            "--eval-dataset",
            metavar="ID",
            help="Evaluation dataset: also checked; it must share no rows with the dataset.",
        ),
    ] = None,
    reward: Annotated[
        list[str] | None,
        typer.Option(
            "--reward",
            metavar="TYPE",
            help="Type of a reward of a grpo job: check the answers that it compares with; may be repeated.",
        ),
    ] = None,
    max_findings: Annotated[
        int, typer.Option(min=0, max=10_000, help="Maximum findings to show; all are counted.")
    ] = 20,
    html: HtmlOption = None,
) -> None:
    """Check a dataset; the exit code is 1 if a job with it would fail."""
    found = find_dataset(session, dataset)
    held_out = find_dataset(session, eval_dataset).id if eval_dataset else None
    with session.output.progress(f"Checking {found.name}", of_bytes=False) as on_progress:
        report = session.client.datasets.check(
            found.id,
            model,
            max_length=max_length,
            assistant_only_loss=not learn_everything,
            packing=packing,
            eval_dataset=held_out,
            rewards=reward or (),
            max_findings=max_findings,
            on_progress=on_progress,
        )
    if html is not None:
        session.output.page(html, _check_page(report))
    if session.output.as_json:
        session.output.json(report)
    else:
        _show_report(session, report)
        for field in found.unused_fields:
            session.output.talk(str(field))
    if report.has_errors:
        raise typer.Exit(ExitCode.ERROR)


@command(datasets, "tokens")
def show_tokens(
    session: Session,
    dataset: DatasetArgument,
    model: ModelOption,
    row: Annotated[int, typer.Option(min=1, help="Row number, starting at 1.")],
    max_length: LengthOption = None,
    learn_everything: AllOption = False,
    packing: PackingOption = False,
    html: HtmlOption = None,
) -> None:
    """Show a row as the model reads it: which tokens are trained, special, or cut off."""
    found = find_dataset(session, dataset)
    rows = session.client.datasets.tokens(
        found.id,
        model,
        row,
        max_length=max_length,
        assistant_only_loss=not learn_everything,
        packing=packing,
    )
    if html is not None:
        from ftlab.pages import token_page

        session.output.page(html, token_page(rows))
    if session.output.as_json:
        session.output.json(rows)
        return
    for token_row in rows:
        _show_row(session, token_row)


def _check_page(report: "CheckReport") -> str:
    from ftlab.pages import check_page

    return check_page(report)


def _show_report(session: Session, report: "CheckReport") -> None:
    from ftlab.pages.check_page import facts, verdict
    from ftlab.schemas.check_rules import severity_of, severity_word

    output = session.output
    output.record(dict(facts(report)))
    lengths = report.lengths
    output.record(
        {"Length of a row": f"median {lengths.p50:,}, 99 % up to {lengths.p99:,}, longest {lengths.longest:,}"}
    )
    if report.counts:
        output.table(
            ("SEVERITY", "RULE", "NUMBER"),
            [(severity_of(rule).word, rule, f"{number:,}") for rule, number in report.counts.items()],
        )
    if report.findings:
        output.table(
            ("SEVERITY", "RULE", "ROW", "LINE", "FINDING"),
            [
                (severity_word(item.severity), item.rule, item.row or "", item.line or "", item.message)
                for item in report.findings
            ],
        )
    if hidden := report.num_findings - len(report.findings):
        output.talk(f"{hidden:,} more findings are counted but not shown; see --max-findings.")
    output.talk(verdict(report))


def _show_row(session: Session, row: "TokenRow") -> None:
    import sys

    from rich.console import Console

    from ftlab.pages.token_page import hidden_tokens

    name = f"{row.part}: " if row.part else ""
    session.output.talk(
        f"{name}row {row.row}, line {row.line}: {row.num_tokens:,} tokens, {row.num_trained:,} trained (underlined), "
        f"{row.num_truncated:,} cut off (struck out)"
    )
    if sys.stdout.isatty():
        Console(highlight=False).print(_styled(row.tokens))
    else:
        for token in row.tokens:
            flags = [name for name, is_it in _flags(token) if is_it]
            session.output.data(f"{token.id}\t{','.join(flags)}\t{_visible(token.text)}")
    if row.num_hidden:
        session.output.talk(hidden_tokens(row))


def _styled(tokens: "Sequence[Token]") -> "Text":
    from rich.text import Text

    text = Text()
    for token in tokens:
        # Never by colour alone.
        styles = [style for style, is_it in _styles(token) if is_it]
        text.append(_visible(token.text, keep_lines=True), " ".join(styles) or None)
    return text


def _styles(token: "Token") -> Iterator[tuple[str, bool]]:
    yield "bright_black strike", token.is_truncated
    yield "green underline", token.is_trained
    yield "magenta bold", token.is_special and not token.is_truncated


def _flags(token: "Token") -> Iterator[tuple[str, bool]]:
    yield "trained", token.is_trained
    yield "special", token.is_special
    yield "truncated", token.is_truncated


def _visible(text: str, *, keep_lines: bool = False) -> str:
    """The text without terminal control characters; line breaks are shown, and kept between lines."""
    from ftlab.formatting import one_line
    from ftlab.pages.token_page import REST

    lines = (text or REST).replace("\t", "⇥").split("\n")
    return ("⏎\n" if keep_lines else "⏎").join(map(one_line, lines))
