"""The application: its screen, its timers, and the keys that belong to no part of it."""

import gc
import sys
from collections.abc import Iterable
from typing import Any, ClassVar

from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Input

from ftlab.tui.chart_controls import ChartControls
from ftlab.tui.compare_screen import CompareScreen
from ftlab.tui.comparison import MAX_JOBS
from ftlab.tui.dialogs import SIGNS, HelpPage
from ftlab.tui.job_commands import JobCommands
from ftlab.tui.job_pane import JobPane
from ftlab.tui.job_table import JobTable
from ftlab.tui.line_area import LineArea
from ftlab.tui.navigation import Navigation
from ftlab.tui.nodes_screen import NodesScreen
from ftlab.tui.palette import PALETTES
from ftlab.tui.spans import to_ascii

WIDE = 110
"""Columns from which on the table and the job are shown side by side."""
REDRAW_S = 0.25
"""Live data is drawn at most this often; keys are answered at once."""
SWITCH_INTERVAL_S = 0.0005
USUAL_THRESHOLD = 700
"""New objects after which Python looks for unused ones: its default, which short commands raise."""
SHARED_ACTIONS = frozenset(
    {"log_y", "smooth", "x_axis", "next_theme", "keys", "quit", "command_palette", "focus_next", "focus_previous"}
)
"""Keys that also work while another screen covers this one."""


async def run(monitor: "Monitor") -> None:
    """Run the monitor until its user quits.

    Everything that was imported is left out of garbage collections: a full one would take longer than a key may. The
    threads that read keys and write to the terminal take turns with the drawing more often than by default (5 ms).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(USUAL_THRESHOLD)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    await monitor.run_async()


class Monitor(JobCommands, ChartControls, Navigation):
    """The terminal monitor."""

    TITLE = "FineTune Lab"
    CSS_PATH = "monitor.tcss"
    COMMAND_PALETTE_BINDING = "ctrl+p"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012  (as Textual declares it)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", show=False),
        Binding("question_mark", "keys", show=False),
        Binding("space", "mark", show=False),
        Binding("c", "compare", show=False),
        Binding("m", "machines", show=False),
        Binding("t", "next_theme", show=False),
        Binding("r", "refresh_now", show=False),
        *Navigation.NAVIGATION_KEYS,
        *JobCommands.JOB_KEYS,
        *ChartControls.CHART_KEYS,
    ]

    def compose(self) -> ComposeResult:
        self.title_bar = LineArea(id="title", classes="bar", can_focus=False)
        self.columns = LineArea(id="columns", classes="bar", can_focus=False)
        self.table, self.pane = JobTable(id="jobs"), JobPane(id="job")
        self.hints = LineArea(id="hints", classes="bar", can_focus=False)
        self.prompt = Input(id="prompt", compact=True)
        self.too_small = LineArea(id="too-small", can_focus=False)
        yield self.title_bar
        with Horizontal(id="main"):
            with Vertical(id="jobs-pane"):
                yield self.columns
                yield self.table
            yield self.pane
        yield self.hints
        yield self.prompt
        yield self.too_small

    def on_mount(self) -> None:
        self.set_class(self.is_ascii, "-ascii")
        self.table.selected_id = self.opens
        self.set_class(self.opens is None, "-jobs")
        (self.table if self.opens is None else self.pane.body).focus()
        self.is_open = True
        self.redraw()
        self.run_worker(self._watch_jobs(), group="jobs")
        self.set_interval(REDRAW_S, self._redraw_if_stale)
        self.set_interval(1.0, self._tick)

    async def _watch_jobs(self) -> None:
        async for snapshot in self.feed.snapshots():
            self.show_snapshot(snapshot)

    def _redraw_if_stale(self) -> None:
        if self.is_stale:
            self.redraw()

    def _tick(self) -> None:
        """Times that pass while no data arrives: elapsed, and the age of what is shown."""
        self.is_stale = True

    def on_unmount(self) -> None:
        self.is_open = False

    def on_resize(self) -> None:
        self.call_after_refresh(self.redraw)

    def on_line_area_moved(self, event: LineArea.Moved) -> None:
        """Show the job to which the cursor has moved."""
        if event.area is self.table:
            self.select_soon()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of this screen do nothing while another one covers it, except those that every screen has."""
        return len(self.screen_stack) == 1 or action in SHARED_ACTIONS

    # Marks and the rest

    def action_mark(self) -> None:
        """Mark the selected job for a comparison, or remove the mark."""
        job = self.table.selected
        if job is None:
            return
        marked = self.table.marked ^ {job.id}
        if len(marked) > MAX_JOBS:
            self.notify(f"At most {MAX_JOBS} jobs can be compared.", severity="warning")
            return
        self.table.marked = marked
        if not self.is_job_pane:
            self.table.action_move(1)
        self.redraw()

    def action_compare(self) -> None:
        """Compare the marked jobs."""
        jobs = [job for job in self.snapshot.jobs if job.id in self.table.marked]
        if len(jobs) < 2:
            self.notify("Mark at least two jobs with Space, then press c.", severity="warning")
        else:
            self.push_screen(CompareScreen(jobs))

    def action_machines(self) -> None:
        """Show the machines and GPUs."""
        self.push_screen(NodesScreen())

    def action_next_theme(self) -> None:
        """Switch to the next theme."""
        names = list(PALETTES)
        self.theme = names[(names.index(self.palette.name) + 1) % len(names)]

    def watch_theme(self, name: str) -> None:
        if name in PALETTES:
            self.palette = PALETTES[name]
        self.refresh(layout=True)

    def action_refresh_now(self) -> None:
        """Fetch the jobs at once."""
        self.feed.hurry()

    def action_keys(self) -> None:
        """Show all keys."""
        self.push_screen(HelpPage(to_ascii(SIGNS) if self.is_ascii else SIGNS))

    def action_command_palette(self) -> None:
        """Show the commands; without the ellipsis of Textual's own text, which some terminals cannot show."""
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette(placeholder="Search for commands", id="--command-palette"))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Commands of the palette: over another screen or a dialog, none that acts on what it covers."""
        yield SystemCommand("Keys", "Show all keys", self.action_keys)
        yield SystemCommand("Theme", "Switch to the next theme", self.action_next_theme)
        if screen is self.screen_stack[0]:
            yield SystemCommand("Machines", "Show the machines and GPUs", self.action_machines)
            yield SystemCommand("Compare", "Compare the marked jobs", self.action_compare)
            yield SystemCommand("Refresh", "Fetch the jobs at once", self.action_refresh_now)
            yield from self.job_commands()
        yield SystemCommand("Quit", "Leave the monitor; jobs keep running", self.action_quit)
