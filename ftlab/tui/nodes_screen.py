"""The screen with the machines and GPUs: their load, their memory, and the jobs that hold them."""

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from ftlab.tui.device_lines import node_lines
from ftlab.tui.line_area import LineArea
from ftlab.tui.spans import line

if TYPE_CHECKING:
    from ftlab.tui.base import MonitorBase

REDRAW_S = 1.0


class NodesScreen(Screen[None]):
    """The machines of the newest snapshot."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,m", "dismiss", show=False)]

    def compose(self) -> ComposeResult:
        yield LineArea(id="nodes-head", classes="bar", can_focus=False)
        yield LineArea(id="nodes")
        yield LineArea(id="nodes-keys", classes="bar", can_focus=False)

    def on_mount(self) -> None:
        self.query_one("#nodes-head", LineArea).show([line(("FineTune Lab", "title"), ("  Machines", "muted"))])
        self.query_one("#nodes-keys", LineArea).show([line(("  ↑ ↓ scroll   Esc back", "muted"))])
        self.query_one("#nodes").focus()
        self.set_interval(REDRAW_S, self.redraw)

    def redraw(self) -> None:
        """Draw the newest snapshot."""
        area = self.query_one("#nodes", LineArea)
        nodes = cast("MonitorBase", self.app).snapshot.nodes
        area.show(node_lines(nodes, area.scrollable_content_region.width))

    def on_resize(self) -> None:
        self.call_after_refresh(self.redraw)
