"""Output of a command: data on stdout, messages on stderr."""

import json
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ftlab.cli.text import ago, aligned, local_time, without_optional
from ftlab.formatting import one_line, without_controls

if TYPE_CHECKING:
    from ftlab.client.wire import OnProgress

Item = TypeVar("Item")

_ESCAPED = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
"""Control characters that terminals obey, as JSON escapes them."""


class Output:
    """Writer of a command's output: `as_json` prints all data as JSON, `quiet` suppresses messages except errors."""

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    @property
    def shows_progress(self) -> bool:
        """Whether to show progress bars and live lines: only on a terminal."""
        return sys.stderr.isatty() and not self.quiet

    def data(self, text: str) -> None:
        print(without_controls(text), flush=True)

    def talk(self, text: str) -> None:
        if not self.quiet:
            print(without_controls(text), file=sys.stderr, flush=True)

    def json(self, value: Any) -> None:
        """Print pydantic models and plain data as one JSON document."""
        print(json_text(value, indent=2), flush=True)

    def json_line(self, value: Any) -> None:
        print(json_text(value), flush=True)

    def page(self, path: Path, markup: str) -> None:
        """Write a report as a file."""
        path.write_text(markup, "utf-8")
        self.talk(f"Wrote {path}.")

    def record(self, fields: Mapping[str, object]) -> None:
        """Print names and values, one pair per line; empty values are omitted."""
        shown = {name: one_line(value) for name, value in fields.items() if value not in (None, "")}
        width = max(map(len, shown), default=0)
        for name, value in shown.items():
            self.data(f"{name:<{width}}  {value}")

    def done(self, record: Any, sentence: str) -> None:
        """Say what was done, and with `as_json` print the record that it was done to."""
        if self.as_json:
            self.json(record)
        self.talk(sentence)

    def listing(
        self,
        found: Iterable[Item],
        columns: Sequence[str],
        row_of: Callable[[Item], Sequence[object]],
        *,
        empty: str = "",
        shrink: Collection[str] = (),
        optional: Sequence[str] = (),
    ) -> None:
        """Print records: as JSON, as a table with a row each, or, where there are none, the sentence `empty`."""
        records = list(found)
        if self.as_json:
            self.json(records)
        elif empty and not records:
            self.talk(empty)
        else:
            self.table(columns, [row_of(record) for record in records], shrink=shrink, optional=optional)

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        shrink: Collection[str] = (),
        optional: Sequence[str] = (),
    ) -> None:
        """Print a table: aligned on a terminal; tab-separated in a pipe, with every column and nothing shortened.

        A terminal shows no empty columns, and times as `3 min ago`. Only the columns named in `shrink` are shortened to
        fit its width, so that an id can always be copied. Where that does not suffice, the columns named in `optional`
        are left out, the first ones first.
        """
        if not sys.stdout.isatty():
            for row in [columns, *rows]:
                self.data("\t".join(one_line(local_time(cell) if isinstance(cell, datetime) else cell) for cell in row))
            return
        now = datetime.now(UTC)
        cells = [[one_line(ago(cell, now) if isinstance(cell, datetime) else cell) for cell in row] for row in rows]
        shown = [place for place in range(len(columns)) if not rows or any(row[place] for row in cells)]
        width = shutil.get_terminal_size().columns
        table = [[row[place] for place in shown] for row in [list(columns), *cells]]
        table = without_optional(table, shrink, optional, width)
        shrinkable = [place for place, column in enumerate(table[0]) if column in shrink]
        for line in aligned(table, shrinkable, width):
            self.data(line)

    @contextmanager
    def progress(self, label: str, *, of_bytes: bool = True) -> "Iterator[OnProgress | None]":
        """A progress bar for a file transfer, or one that counts; nothing without a terminal."""
        if not self.shows_progress:
            yield None
            return
        from rich import progress as shown
        from rich.console import Console

        amount = shown.DownloadColumn() if of_bytes else shown.MofNCompleteColumn()
        rate = shown.TransferSpeedColumn() if of_bytes else shown.TimeRemainingColumn()
        parts = (shown.TextColumn("{task.description}", markup=False), shown.BarColumn(), amount, rate)
        with shown.Progress(*parts, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(label, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)


def json_text(value: Any, indent: int | None = None) -> str:
    """A JSON document in which all control characters are escaped, also those that JSON may hold as they are."""
    return json.dumps(value, default=_plain, ensure_ascii=False, indent=indent).translate(_ESCAPED)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)
