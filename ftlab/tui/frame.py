"""The first and the last line of the screen, and what is shown in place of jobs or of the whole screen."""

from datetime import datetime
from urllib.parse import urlsplit

from ftlab.cli.text import GLYPHS
from ftlab.schemas import Job
from ftlab.status import LIVE_STATUSES, JobStatus
from ftlab.tui.actions import Action, why_not
from ftlab.tui.details import Tab
from ftlab.tui.device_lines import devices_line
from ftlab.tui.job_columns import STATUS_ROLES
from ftlab.tui.snapshot import LinkState, Snapshot, rough
from ftlab.tui.spans import Line, fitted_line, joined, line, spread, width_of

MIN_SIZE = (60, 16)
_KEYS = {
    Action.PAUSE: "p",
    Action.RESUME: "R",
    Action.CANCEL: "d",
    Action.PRIORITY: "P",
    Action.FRONT: "F",
    Action.DOWNLOAD: "D",
}


def title_line(snapshot: Snapshot, width: int, now: datetime, *, is_readonly: bool) -> Line:
    """Name, server, how many jobs there are of each kind, and the state of the connection."""
    counts = snapshot.counts
    running = sum(counts[status] for status in LIVE_STATUSES)
    shown = [(JobStatus.RUNNING, running, "running")]
    shown += [
        (status, counts[status], str(status))
        for status in (JobStatus.QUEUED, JobStatus.PAUSED, JobStatus.FAILED)
        if counts[status]
    ]
    names = [line(("FineTune Lab", "title")), line((urlsplit(snapshot.link.server).netloc, "muted"))]
    right = joined([line(("read-only", "muted")) if is_readonly else (), _link(snapshot, now)])
    for is_long in (True, False):
        tally = [
            line((f"{GLYPHS[status]} {count}{f' {word}' * is_long}", STATUS_ROLES[status]))
            for status, count, word in shown
        ]
        left = joined([*names, *(tally if snapshot.jobs else ()), devices_line(snapshot.nodes)])
        if width_of(left) + width_of(right) < width:
            break
    return spread(left, right, width)


def _link(snapshot: Snapshot, now: datetime) -> Line:
    link = snapshot.link
    if link.state is LinkState.LIVE:
        return line(("live", "good"))
    if link.state is LinkState.LOADING:
        return line(("connecting", "muted"))
    what = "key refused" if link.state is LinkState.REFUSED else "disconnected"
    age = ""
    if link.fetched_at is not None:
        age = f", shown as of {rough((now - link.fetched_at).total_seconds())} ago"
    return line((what + age, "error strong"))


def hint_line(job: Job | None, tab: Tab | None, num_marked: int, width: int, *, is_readonly: bool) -> Line:
    """The keys that matter now, in the table or in a `tab` of a job; those that would be refused are left out."""
    keys = [("Enter", "open"), ("/", "filter")]
    if tab is not None:
        keys = [("Esc", "back"), ("[ ]", "tabs"), ("Enter", "one chart") if tab is Tab.CHARTS else ("/", "search")]
    elif num_marked:
        keys.append(("c", f"compare {num_marked}"))
    else:
        keys.append(("Space", "mark"))
    if job is not None:
        possible = [action for action in Action if why_not(action, job, is_readonly=is_readonly) is None]
        keys += [(_KEYS[action], str(action)) for action in possible]
    keys += [("?", "keys"), ("q", "quit")]
    shown = [line((key, "accent"), (f" {what}", "muted")) for key, what in keys]
    while len(shown) > 3 and sum(len(f"{key} {what}  ") for key, what in keys[: len(shown)]) > width:
        # The last two stay: they lead to everything else.
        del shown[-3]
        del keys[-3]
    return fitted_line(joined(shown), width)


def too_small(width: int, height: int) -> list[Line]:
    """What is shown where nothing fits."""
    columns, lines = MIN_SIZE
    return [
        line((f"This terminal is {width}x{height}.", "warning")),
        line(f"The monitor needs {columns}x{lines}."),
        line(("q quits.", "muted")),
    ]


def empty_lines(snapshot: Snapshot, wanted: str) -> list[Line]:
    """What is shown in place of jobs: what is happening, or what to do first."""
    link = snapshot.link
    if link.state is LinkState.LOADING:
        return [(), line((f"  Connecting to {link.server} ...", "muted"))]
    if link.state is not LinkState.LIVE and not snapshot.jobs:
        return [(), *(line((f"  {part}", "error")) for part in _sentences(link.problem))]
    if snapshot.jobs:
        return [(), line((f"  No job matches '{wanted}'.", "")), line(("  Press Esc to show all jobs.", "muted"))]
    return [
        (),
        line(("  There are no jobs yet.", "strong")),
        (),
        line(("  Submit one from another terminal:", "muted")),
        line(("    ftlab submit job.yaml", "accent")),
        (),
        line(("  It appears here at once.", "muted")),
    ]


def _sentences(text: str) -> list[str]:
    return [part if part.endswith(".") else f"{part}." for part in text.removesuffix(".").split(". ")]
