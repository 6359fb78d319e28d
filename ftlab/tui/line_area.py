"""A widget that draws lines of spans: only those that are visible, with a cursor or a scroll position."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ftlab.tui.palette import style_of
from ftlab.tui.spans import Line, in_ascii, text_of

if TYPE_CHECKING:
    from textual import events

    from ftlab.tui.base import MonitorBase


MAX_STRIPS = 2000
"""Drawn lines that are kept."""


class LineArea(ScrollView, can_focus=True):
    """Lines of text with roles. With `has_cursor`, one of them is selected."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", show=False),
        Binding("up,k", "move(-1)", show=False),
        Binding("pagedown,ctrl+d", "move_page(1)", show=False),
        Binding("pageup,ctrl+u", "move_page(-1)", show=False),
        Binding("home,g", "move_to(0)", show=False),
        Binding("end,G", "move_to(-1)", show=False),
    ]
    DEFAULT_CSS = "LineArea { height: 1fr; overflow-x: hidden; scrollbar-size: 1 1; } LineArea.bar { height: 1; }"

    class Moved(Message):
        """The user moved the cursor or the scroll position."""

        def __init__(self, area: "LineArea") -> None:
            super().__init__()
            self.area = area

        @property
        def control(self) -> "LineArea":
            return self.area

    def __init__(self, *, id: str | None = None, classes: str | None = None, can_focus: bool = True) -> None:
        super().__init__(id=id, classes=classes)
        self.can_focus = can_focus
        self.cursor: int | None = None
        """Index of the selected line; `None` without a cursor."""
        self.search = ""
        """Text that is highlighted."""
        self._lines: Sequence[Line] = ()
        self._base = Style()
        self._look: tuple[object, ...] = ()
        """What all lines were drawn with."""
        self._strips: dict[int, tuple[tuple[Line, bool], Strip]] = {}
        """Lines that were drawn with it, with and without the cursor."""
        self._drawn: dict[int, tuple[Line, bool, str]] = {}
        """What was drawn last: the visible lines, whether each had the cursor, and the search text."""

    def show(self, lines: Sequence[Line]) -> None:
        """Replace the lines; nothing is drawn again where they are the same."""
        if lines != self._lines:
            self._lines = lines
            self.redraw()

    @property
    def count(self) -> int:
        return len(self._lines)

    def line_at(self, index: int) -> Line:
        return self._lines[index]

    def redraw(self) -> None:
        """Draw what has changed: over a slow connection, each line that is sent counts."""
        size = Size(self.scrollable_content_region.width, self.count)
        if size != self.virtual_size:
            self.virtual_size = size
        begin = self.scroll_offset.y
        visible = range(begin, min(self.count, begin + self.size.height))
        drawn = {index: (self.line_at(index), index == self.cursor, self.search) for index in visible}
        if drawn.keys() != self._drawn.keys():
            self.refresh()
        else:
            for index in visible:
                if drawn[index] != self._drawn[index]:
                    self.refresh_line(index)
        self._drawn = drawn

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw some lines; their common style is looked up once.

        Lines that scroll are not drawn again: that took longer than all the rest that a key causes.
        """
        app, width = cast("MonitorBase", self.app), self.size.width
        look = (self.rich_style, width, self.has_focus, self.search, app.palette, app.is_ascii, app.no_color)
        if look != self._look or len(self._strips) > MAX_STRIPS:
            self._look, self._base, self._strips = look, self.rich_style, {}
        if self.styles.gutter:
            return super().render_lines(crop)
        strips = [self.render_line(y) for y in crop.line_range]
        _, background = self.background_colors
        for each in self.get_line_filters():
            strips = [strip.apply_filter(each, background) for strip in strips]
        if crop.column_span != (0, width):
            strips = [strip.crop(*crop.column_span) for strip in strips]
        return strips

    def render_line(self, y: int) -> Strip:
        """Draw one line of the widget."""
        index = y + self.scroll_offset.y
        if index >= self.count:
            return Strip.blank(self.size.width, self._base)
        wanted = self.line_at(index), index == self.cursor
        drawn = self._strips.get(index)
        if drawn is None or drawn[0] != wanted:
            drawn = self._strips[index] = wanted, self._draw(*wanted)
        return drawn[1]

    def _draw(self, spans: Line, has_cursor: bool) -> Strip:
        app, base = cast("MonitorBase", self.app), self._base
        if self.search:
            spans = highlighted(spans, self.search)
        if app.is_ascii:
            spans = in_ascii(spans)
        segments = [Segment(text, base + style_of(role, app.palette)) for text, role in spans]
        filling = base
        if has_cursor:
            cursor = Style(bgcolor=app.palette.cursor, bold=self.has_focus or None, reverse=app.no_color or None)
            segments = [Segment(text, (style or base) + cursor) for text, style, _ in segments]
            filling = base + cursor
        return Strip(segments).adjust_cell_length(self.size.width, filling)

    def move_cursor(self, index: int) -> None:
        """Select a line and make it visible."""
        if self.count == 0:
            self.cursor = None
            return
        before, self.cursor = self.cursor, max(0, min(self.count - 1, index))
        self.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False, force=True)
        self.refresh_line(self.cursor)
        if before is not None:
            self.refresh_line(before)

    def action_move(self, lines: int) -> None:
        if self.cursor is None:
            self.scroll_relative(y=lines, animate=False)
        else:
            self.move_cursor(self.cursor + lines)
        self.post_message(self.Moved(self))

    def action_move_page(self, pages: int) -> None:
        self.action_move(pages * max(1, self.size.height - 1))

    def action_move_to(self, end: int) -> None:
        if self.cursor is not None:
            self.move_cursor(0 if end == 0 else self.count - 1)
        elif end == 0:
            self.scroll_home(animate=False)
        else:
            self.scroll_end(animate=False)
        self.post_message(self.Moved(self))

    def on_click(self, event: "events.Click") -> None:
        index = event.y + self.scroll_offset.y
        if self.cursor is not None and index < self.count:
            self.move_cursor(index)
            self.post_message(self.Moved(self))

    def on_resize(self) -> None:
        self.redraw()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def matches(self) -> list[int]:
        """Indices of the lines that contain the search text."""
        wanted = self.search.casefold()
        if not wanted:
            return []
        return [index for index in range(self.count) if wanted in text_of(self.line_at(index)).casefold()]


def highlighted(spans: Line, wanted: str) -> Line:
    """The line with every occurrence of a text marked; one that spans roles is not."""
    found = []
    for text, role in spans:
        rest, place = text, text.casefold().find(wanted.casefold())
        while place >= 0 and len(rest.casefold()) == len(rest):
            if place:
                found.append((rest[:place], role))
            found.append((rest[place : place + len(wanted)], f"{role} match".strip()))
            rest = rest[place + len(wanted) :]
            place = rest.casefold().find(wanted.casefold())
        found.append((rest, role))
    return tuple(found)
