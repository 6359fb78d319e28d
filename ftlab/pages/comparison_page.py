"""Jobs over each other as a page."""

from collections.abc import Iterator, Sequence

from ftlab.formatting import duration, money, number, shown_value
from ftlab.pages.document import page, table, text
from ftlab.schemas.comparisons import ComparedCurve, ComparedDataset, ComparedRun, ComparedValue, Comparison

WIDTH, HEIGHT = 640, 240
LEFT, BOTTOM = 64, 24
COLORS = (
    "#2f7ed8", "#d9730d", "#2a9d5c", "#c2408f", "#7a5cc7", "#b58900", "#1aa3a3", "#c0392b", "#6b7785", "#8a5a2b",
)  # fmt: skip
"""Of the curves; readable on white and on black."""
DASHES = ("", "8 4", "2 3", "10 3 2 3", "5 5")
FIRST = ("loss", "reward", "eval_loss", "eval_reward")
"""Metrics whose charts come first."""


def comparison_page(found: Comparison) -> str:
    """The comparison as one HTML document."""
    return page(f"Comparison of {len(found.runs)} jobs", _body(found))


def evaluation(run: ComparedRun) -> str:
    """The best evaluation in words; empty without one."""
    return "" if run.best is None else f"{number(run.best.value)} at step {run.best.step}"


def group(run: ComparedRun) -> str:
    """The letter of the jobs whose evaluations may be compared; empty for a job without an evaluation."""
    return "" if run.evaluation_group is None else chr(ord("A") + run.evaluation_group - 1)


def uses_of(dataset: ComparedDataset, runs: Sequence[ComparedRun]) -> list[str]:
    """What each job uses the dataset for: `train`, `eval` or both; empty for a job that does not."""
    users = {"train": dataset.trained_by, "eval": dataset.evaluated_by}
    return [" and ".join(use for use, ids in users.items() if run.job_id in ids) for run in runs]


def measured(value: ComparedValue | None) -> str:
    """The value of a metric with its interval; empty for a job that was not measured."""
    if value is None or value.value is None:
        return ""
    interval = "" if value.low is None else f" ({number(value.low)} to {number(value.high)})"
    return number(value.value) + interval


def _body(found: Comparison) -> Iterator[str]:
    yield "<h1>Comparison of jobs</h1>"
    yield from (f'<p class="warning">{text(note)}</p>' for note in found.notes)
    yield table(
        (
            "",
            "Job",
            "Status",
            "#Step",
            "#Last",
            "#Before",
            "#Best evaluation",
            "Group",
            "#Tokens/s",
            "#Time",
            "#Cost",
        ),
        (_run(place, run) for place, run in enumerate(found.runs)),
    )
    yield (
        '<p class="soft">Last: mean of the training metric over the last twentieth of its points. Before: the '
        "evaluation before training. Evaluations of one group are on the same rows in the same way; ★ is the best of "
        "its group.</p>"
    )
    yield "<h2>Curves</h2>"
    yield from _charts(found)
    yield "<h2>Settings that differ</h2>"
    names = [text(run.name) for run in found.runs]
    if found.settings:
        yield table(
            ("Setting", *(run.name for run in found.runs)),
            (
                (f"<code>{text(each.field)}</code>", *(text(shown_value(value)) for value in each.values))
                for each in found.settings
            ),
        )
    else:
        yield '<p class="soft">None.</p>'
    yield "<h2>Data</h2>"
    yield table(("Dataset", "#Rows", *(run.name for run in found.runs)), _datasets(found))
    if found.evaluations:
        yield "<h2>Evaluations</h2>"
        yield table(
            ("Metric", "Dataset", "#Base", *(f"#{run.name}" for run in found.runs)),
            (
                (
                    text(each.metric),
                    f"<code>{text(each.dataset_id)}</code>" if each.dataset_id else "",
                    text(number(each.base)),
                    *(text(measured(value)) for value in each.values),
                )
                for each in found.evaluations
            ),
        )
    for prompt in found.samples:
        answers = {answer.job_id: answer for answer in prompt.answers}
        yield f"<h2>Sample: {text(prompt.prompt)}</h2>"
        yield table(
            ("Job", "#Step", "Answer"),
            (
                (name, f"{answers[run.job_id].step:,}", f"<pre>{text(answers[run.job_id].text)}</pre>")
                for name, run in zip(names, found.runs, strict=True)
                if run.job_id in answers
            ),
        )


def _run(place: int, run: ComparedRun) -> tuple[str, ...]:
    before = run.best.before_training if run.best else None
    return (
        _swatch(place),
        f'{text(run.name)}<br><span class="soft">{text(run.model or "")} · {text(run.method or "")}</span>',
        text(run.status),
        f"{run.step:,}",
        text(number(run.last)),
        text(number(before)),
        text(evaluation(run)) + (" ★" if run.is_best else ""),
        text(group(run)),
        "" if run.tokens_per_s is None else f"{run.tokens_per_s:,.0f}",
        text(duration(run.run_time_s)),
        "" if run.cost is None else text(money(run.cost.amount, run.cost.currency)),
    )


def _datasets(found: Comparison) -> Iterator[tuple[str, ...]]:
    for each in found.datasets:
        name = f"{text(each.name or 'deleted')}<br><code>{text(each.dataset_id)}</code>"
        if each.same_as:
            name += f'<br><span class="soft">the same rows as {text(each.same_as)}</span>'
        yield name, "" if each.num_rows is None else f"{each.num_rows:,}", *uses_of(each, found.runs)


def _charts(found: Comparison) -> Iterator[str]:
    places = {run.job_id: place for place, run in enumerate(found.runs)}
    names = dict.fromkeys([*FIRST, *sorted({curve.name for curve in found.curves})])
    for name in names:
        curves = [curve for curve in found.curves if curve.name == name]
        if curves:
            yield f"<h3>{text(name)}</h3>{_chart(name, curves, places)}"


def _chart(name: str, curves: Sequence[ComparedCurve], places: dict[str, int]) -> str:
    """The curves over their steps as an SVG."""
    low, high = min(min(curve.values) for curve in curves), max(max(curve.values) for curve in curves)
    last = max(1, *(curve.steps[-1] for curve in curves))
    span = (high - low) or 1.0

    def place_of(step: int, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - 8) * step / last
        return f"{x:.1f},{8 + (HEIGHT - BOTTOM - 16) * (high - value) / span:.1f}"

    lines = []
    for curve in curves:
        points = " ".join(place_of(step, value) for step, value in zip(curve.steps, curve.values, strict=True))
        lines.append(f'<polyline points="{points}" fill="none" {_stroke(places[curve.job_id])}></polyline>')
        if len(curve.steps) == 1:
            x, y = points.split(",")
            lines.append(
                f'<circle cx="{x}" cy="{y}" r="3" fill="{COLORS[places[curve.job_id] % len(COLORS)]}"></circle>'
            )
    bottom = HEIGHT - BOTTOM - 8
    frame = f'<path d="M{LEFT} 8V{bottom}H{WIDTH - 8}" fill="none" stroke="currentColor" opacity=".4"></path>'
    labels = (
        f'<text x="{LEFT - 6}" y="16" text-anchor="end" fill="currentColor">{text(number(high))}</text>'
        f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end" fill="currentColor">{text(number(low))}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 10}" fill="currentColor">0</text>'
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 10}" text-anchor="end" fill="currentColor">step {last:,}</text>'
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-size="12" role="img" '
        f'aria-label="Chart of {text(name)}">{frame}{"".join(lines)}{labels}</svg>'
    )


def _swatch(place: int) -> str:
    line = f'<path d="M0 4h32" fill="none" {_stroke(place)}></path>'
    return f'<svg width="32" height="8" aria-hidden="true">{line}</svg>'


def _stroke(place: int) -> str:
    dash = DASHES[place % len(DASHES)]
    return f'stroke="{COLORS[place % len(COLORS)]}" stroke-width="2"' + (f' stroke-dasharray="{dash}"' if dash else "")
