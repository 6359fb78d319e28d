"""Moving around: between the panes, tabs, charts and lines; filtering jobs and searching lines."""

from typing import ClassVar

from textual.binding import Binding
from textual.widgets import Input

from ftlab.tui.base import MonitorBase
from ftlab.tui.details import Tab, tabs_of


class Navigation(MonitorBase):
    """The keys that change what is shown, and nothing else."""

    NAVIGATION_KEYS: ClassVar[list[Binding]] = [
        Binding("tab", "other_pane", priority=True, show=False),
        Binding("enter", "open", show=False),
        Binding("escape", "leave", show=False),
        Binding("slash", "search", show=False),
        Binding("n", "match(1)", show=False),
        Binding("N", "match(-1)", show=False),
        Binding("l", "logs", show=False),
        Binding("f", "follow_log", show=False),
        Binding("left_square_bracket", "next_tab(-1)", show=False),
        Binding("right_square_bracket", "next_tab(1)", show=False),
        Binding("left", "side(-1)", show=False),
        Binding("right", "side(1)", show=False),
        *(Binding(str(number), f"tab({number - 1})", show=False) for number in range(1, len(Tab) + 1)),
    ]

    def _go(self, to_job: bool) -> None:
        self.set_class(not to_job, "-jobs")
        (self.pane.body if to_job else self.table).focus()
        self.call_after_refresh(self.redraw)

    def action_other_pane(self) -> None:
        """Move between the table and the job."""
        self.remove_class("-prompt")
        self._go(not self.is_job_pane)

    def action_open(self) -> None:
        """Open the selected job; in its charts, show one of them on the whole screen."""
        if not self.is_job_pane:
            if self.selected_job is not None:
                self._go(True)
        elif self.pane.tab is Tab.CHARTS:
            self.pane.alone = 0 if self.pane.alone is None else None
            self.set_class(self.pane.alone is not None, "-full")
            self.call_after_refresh(self.redraw)

    def action_leave(self) -> None:
        """Leave the prompt, the single chart, the search, the job, or the filter: the innermost one."""
        if self.has_class("-prompt"):
            self._close_prompt(clear=True)
        elif self.pane.alone is not None:
            self.action_open()
        elif self.is_job_pane and self.pane.body.search:
            self.pane.body.search = ""
            self.redraw()
        elif self.is_job_pane:
            self._go(False)
        elif self.table.filter:
            self.table.filter = ""
            self.redraw()

    def action_tab(self, place: int) -> None:
        """Show a tab of the job by its number."""
        tabs = tabs_of(self.detail)
        if place < len(tabs):
            self.remove_class("-full")
            self.pane.choose(tabs[place])
            self._go(True)

    def action_next_tab(self, by: int) -> None:
        """Show the tab beside this one."""
        tabs = tabs_of(self.detail)
        self.action_tab((tabs.index(self.pane.tab) + by) % len(tabs))

    def action_side(self, by: int) -> None:
        """Left and right: another chart where one is shown alone, else another tab."""
        if not self.is_job_pane:
            return
        if self.pane.alone is None:
            self.action_next_tab(by)
        else:
            self.pane.alone += by
            self.pane.redraw()

    def action_logs(self) -> None:
        """Show the log."""
        self.action_tab(tabs_of(self.detail).index(Tab.LOGS))

    def action_follow_log(self) -> None:
        """Follow the log, or stop following it."""
        if self.pane.tab is not Tab.LOGS:
            self.action_logs()
            return
        self.pane.follows = not self.pane.follows
        self.notify("The log is followed." if self.pane.follows else "The log stays where it is.", timeout=2)
        self.pane.redraw()

    # Filter and search

    def action_search(self) -> None:
        """Filter the jobs; in a job, search its lines."""
        prompt = self.prompt
        self.add_class("-prompt")
        prompt.value = self.pane.body.search if self.is_job_pane else self.table.filter
        prompt.placeholder = "search" if self.is_job_pane else "filter by name, status, method, model"
        prompt.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id != "prompt" or not self.has_class("-prompt"):
            return
        if self.is_job_pane:
            self.pane.body.search = event.value
            self.pane.body.redraw()
        else:
            self.table.filter = event.value
            self.redraw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "prompt":
            self._close_prompt(clear=False)
            if self.is_job_pane:
                self.action_match(-1)

    def _close_prompt(self, *, clear: bool) -> None:
        if clear and self.is_job_pane:
            self.pane.body.search = ""
        elif clear:
            self.table.filter = ""
        self.remove_class("-prompt")
        (self.pane.body if self.is_job_pane else self.table).focus()
        self.redraw()

    def action_match(self, direction: int) -> None:
        """Go to the next or the previous line that contains the search text."""
        body = self.pane.body
        found = body.matches()
        if not self.is_job_pane or not body.search:
            return
        if not found:
            self.notify(f"No line contains '{body.search}'.", severity="warning", markup=False)
            return
        here = body.scroll_offset.y + body.size.height // 2
        after = [place for place in found if place > here]
        before = [place for place in found if place < here]
        target = (after or found)[0] if direction > 0 else (before or found)[-1]
        self.pane.follows = False
        body.scroll_to(y=max(0, target - body.size.height // 2), animate=False, immediate=True)
