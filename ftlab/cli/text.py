"""Words, times and aligned columns for people at a terminal."""

import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from unicodedata import combining, east_asian_width

from ftlab.formatting import duration
from ftlab.status import JobStatus, Phase

if TYPE_CHECKING:
    from ftlab.schemas.auto import AutoValue

AUTO_WIDTH = 80
GLYPHS: dict[JobStatus, str] = {
    JobStatus.QUEUED: "○",
    JobStatus.PENDING: "○",
    JobStatus.INITIALIZING: "●",
    JobStatus.RUNNING: "●",
    JobStatus.PAUSING: "‖",
    JobStatus.PAUSED: "‖",
    JobStatus.CANCELLING: "⊘",
    JobStatus.COMPLETED: "✓",
    JobStatus.FAILED: "✗",
    JobStatus.CANCELLED: "⊘",
}


def local_time(at: datetime | None) -> str:
    """Date and time in the reader's time zone."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at else ""


def ago(at: datetime, now: datetime) -> str:
    """`12 s ago`, `3 min ago`, `5 h ago`, `2 d ago`; the date after 30 days, and for a clock that is ahead."""
    seconds = (now - at).total_seconds()
    if not -60 < seconds < 30 * 86_400:
        return f"{at.astimezone():%Y-%m-%d}"
    for unit, unit_s, limit_s in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86_400)):
        if seconds < limit_s:
            return f"{max(0, int(seconds)) // unit_s} {unit} ago"
    return f"{int(seconds) // 86_400} d ago"


def elapsed(since: datetime | None, until: datetime | None = None) -> str:
    """The time between two moments; until now when the second is not given."""
    return duration(((until or datetime.now(UTC)) - since).total_seconds()) if since else ""


def steps(step: int, total_steps: int | None) -> str:
    return f"{step}/{total_steps}" if total_steps else str(step)


def status_and_phase(status: JobStatus, phase: Phase | None) -> str:
    """`running`, and `running, evaluating` while the run does something else than training."""
    return f"{status}, {phase.label}" if phase and phase is not Phase.TRAINING else str(status)


def files(file: int | None, num_files: int, file_progress: float | None) -> str:
    """`file 2 of 5 (40 %)`; empty for a job with one file, and before the first step."""
    if num_files < 2 or file is None:
        return ""
    return f"file {file} of {num_files} ({100 * (file_progress or 0.0):.0f} %)"


COLUMN_GAP = "  "
MIN_COLUMN_WIDTH = 12
"""A shortened column keeps this many cells."""


def aligned(table: Sequence[Sequence[str]], shrinkable: Collection[int], max_width: int) -> list[str]:
    """The rows as lines with aligned columns; the shrinkable columns are shortened until a line fits, if it can."""
    widths = [max(map(cell_width, column)) for column in zip(*table, strict=True)]
    excess = sum(widths) + len(COLUMN_GAP) * (len(widths) - 1) - max_width
    while excess > 0 and (wide := [place for place in shrinkable if widths[place] > MIN_COLUMN_WIDTH]):
        widths[max(wide, key=widths.__getitem__)] -= 1
        excess -= 1
    return [
        COLUMN_GAP.join(fitted(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    ]


def without_optional(
    table: Sequence[Sequence[str]], shrink: Collection[str], optional: Sequence[str], max_width: int
) -> list[list[str]]:
    """The table without as many of its optional columns, in their order, as it takes until a line can fit."""
    kept = [list(row) for row in table]
    for name in optional:
        widths = [max(map(cell_width, column)) for column in zip(*kept, strict=True)]
        least = [min(width, MIN_COLUMN_WIDTH) if kept[0][at] in shrink else width for at, width in enumerate(widths)]
        if sum(least) + len(COLUMN_GAP) * (len(least) - 1) <= max_width:
            break
        if name in kept[0]:
            place = kept[0].index(name)
            kept = [row[:place] + row[place + 1 :] for row in kept]
    return kept


def cell_width(text: str) -> int:
    """Columns of a terminal that the text takes."""
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def clipped(text: str, width: int) -> str:
    """At most `width` cells; an ellipsis replaces what is cut."""
    if cell_width(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        used += cell_width(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + "…" if width > 0 else ""


def fitted(text: str, width: int, *, right: bool = False) -> str:
    """Exactly `width` cells: clipped, or padded on one side."""
    text = clipped(text, width)
    padding = " " * (width - cell_width(text))
    return padding + text if right else text + padding


def auto_lines(auto: "Mapping[str, AutoValue]", prefix: str = "  ") -> Iterator[str]:
    """What each `auto` became and why, at most `AUTO_WIDTH` columns wide."""
    for name, chosen in auto.items():
        text, more = chosen.describe(name), f"{prefix}    "
        yield from textwrap.wrap(
            text, AUTO_WIDTH, initial_indent=prefix, subsequent_indent=more, break_on_hyphens=False
        )
