"""`ftlab analyze`: how well a job learned, how fast it was, and where its time went."""

import textwrap
from typing import TYPE_CHECKING

from ftlab.cli.app import app
from ftlab.cli.session import Session, command
from ftlab.cli.watch import JobArgument

if TYPE_CHECKING:
    from ftlab.schemas import JobAnalytics, TimeUse

WIDTH = 80
TIMES = {
    "queued_s": "in the queue",
    "paused_s": "paused",
    "starting_s": "starting",
    "data_s": "waiting for rows",
    "generation_s": "generating answers",
    "forward_s": "forward pass",
    "backward_s": "backward pass",
    "optimizer_s": "optimizer",
    "evaluation_s": "evaluation",
    "sampling_s": "sample prompts",
    "saving_s": "saving checkpoints",
    "finishing_s": "delivering the model",
    "lost_s": "lost to interruptions",
    "other_s": "other",
}


@command(app)
def analyze(session: Session, job: JobArgument) -> None:
    """Analyze a job: best step, course of the loss, speed, where the time went, and earlier jobs on the same model."""
    from ftlab.cli.text import GLYPHS, steps
    from ftlab.formatting import one_line

    found = session.client.jobs.analytics(job)
    output = session.output
    if output.as_json:
        output.json(found)
        return
    head = (found.job_id, found.method, f"step {steps(found.step, found.total_steps)}")
    output.data(f"{GLYPHS[found.status]} {found.status}  {'  '.join(filter(None, head))}")
    for sentence in found.summary:
        output.data(textwrap.fill(one_line(sentence), WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    output.record(_numbers(found))
    _print_shares(session, found)
    _print_times(session, found.time)
    _print_earlier_runs(session, found)


def _numbers(found: "JobAnalytics") -> dict[str, object]:
    from ftlab.formatting import number

    shown: dict[str, object] = {}
    for value in found.best_values:
        shown[f"Best {_words(value.metric)}"] = f"{number(value.value)} at step {value.step}"
    if found.gap is not None:
        shown["Gap to training"] = f"{number(found.gap.gap)} at step {found.gap.step}"
        if found.gap.at_best is not None and found.gap.is_widening is not None:
            shown["Gap to training"] = f"{shown['Gap to training']}, {number(found.gap.at_best)} at the best step"
    if (norm := found.gradient_norm) is not None:
        clipped = "" if norm.clipped_share is None else f", {norm.clipped_share:.0%} clipped"
        highest = f"highest {number(norm.max)} at step {norm.max_step}"
        shown["Gradient norm"] = f"median {number(norm.median)}, {highest}{clipped}"
    if found.throughput is not None and found.throughput.tokens_per_s is not None:
        quarters = [part.tokens_per_s for part in found.throughput.parts if part.tokens_per_s is not None]
        by_quarter = f"; by quarter {' / '.join(f'{speed:,.0f}' for speed in quarters)}" if len(quarters) > 1 else ""
        shown["Tokens per second"] = f"{found.throughput.tokens_per_s:,.0f}{by_quarter}"
    return shown


def _print_shares(session: Session, found: "JobAnalytics") -> None:
    from ftlab.formatting import number

    if found.shares and found.convergence is not None:
        session.output.data("")
        name = found.convergence.metric.upper()
        rows = [(f"{each.share:.0%}", each.step, number(each.value), number(each.evaluation)) for each in found.shares]
        session.output.table(("AT", "STEP", name, f"EVAL {name}"), rows)


def _print_times(session: Session, time: "TimeUse") -> None:
    session.output.data("")
    spent = {label: getattr(time, name) or 0.0 for name, label in TIMES.items()}
    rows = [
        (label, _duration(time_s), f"{time_s / time.total_s:.0%}" if time.total_s else "")
        for label, time_s in spent.items()
        if time_s >= 0.05
    ]
    session.output.table(("TIME", "DURATION", "SHARE"), [*rows, ("total", _duration(time.total_s), "")])
    if time.missing is not None:
        session.output.talk(textwrap.fill(time.missing, WIDTH))


def _print_earlier_runs(session: Session, found: "JobAnalytics") -> None:
    from ftlab.formatting import number

    if not found.earlier_runs:
        return
    session.output.data("")
    rows = [
        (
            run.job_id,
            run.name,
            number(run.best),
            "yes" if run.is_comparable else "no",
            number(run.last),
            "" if run.tokens_per_s is None else f"{run.tokens_per_s:,.0f}",
            len(run.differences),
        )
        for run in found.earlier_runs
    ]
    columns = ("EARLIER JOB", "NAME", "BEST EVAL", "COMPARABLE", "LAST", "TOKENS/S", "CHANGES")
    session.output.table(columns, rows, shrink=("NAME",))


def _duration(time_s: float) -> str:
    from ftlab.formatting import duration

    return f"{time_s:.1f} s" if time_s < 60 else duration(time_s)


def _words(metric: str) -> str:
    return metric.removeprefix("eval_").replace("_", " ").replace("/", " ")
