"""Themes, and the styles of the roles that text has."""

from dataclasses import dataclass
from functools import lru_cache

from rich.style import Style
from textual.color import Color
from textual.theme import Theme


@dataclass(frozen=True)
class Palette:
    """The colours of one theme."""

    name: str
    is_dark: bool
    background: str
    text: str
    muted: str
    accent: str
    good: str
    error: str
    warning: str
    paused: str
    cursor: str
    """Background of the selected row."""
    line: str
    """Borders and axes."""
    raw: str
    """Values before smoothing."""
    curves: tuple[str, ...]

    def theme(self, background: str | None = None) -> Theme:
        """The Textual theme, on the terminal's own background where it is given."""
        return Theme(
            name=self.name,
            primary=self.accent,
            secondary=self.paused,
            accent=self.accent,
            foreground=self.text,
            background=background or self.background,
            surface=background or self.background,
            panel=self.cursor,
            success=self.good,
            warning=self.warning,
            error=self.error,
            dark=self.is_dark,
            variables={"line": self.line, "muted": self.muted, "block-cursor-background": self.accent},
        )


DARK = Palette(
    name="dark",
    is_dark=True,
    background="#0d1117",
    text="#e6edf3",
    muted="#8b949e",
    accent="#58a6ff",
    good="#3fb950",
    error="#ff7b72",
    warning="#d29922",
    paused="#bc8cff",
    cursor="#1f3350",
    line="#484f58",
    raw="#2f5480",
    curves=("#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#f778ba", "#e3b341"),
)
LIGHT = Palette(
    name="light",
    is_dark=False,
    background="#ffffff",
    text="#1f2328",
    muted="#59636e",
    accent="#0969da",
    good="#1a7f37",
    error="#cf222e",
    warning="#9a6700",
    paused="#8250df",
    cursor="#d3e8ff",
    line="#afb8c1",
    raw="#9cc7f5",
    curves=("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#9a6700"),
)
CONTRAST = Palette(
    name="contrast",
    is_dark=True,
    background="#000000",
    text="#ffffff",
    muted="#c8c8c8",
    accent="#00d7ff",
    good="#00ff5f",
    error="#ff5f5f",
    warning="#ffff00",
    paused="#ff87ff",
    cursor="#303080",
    line="#a0a0a0",
    raw="#007090",
    curves=("#00d7ff", "#ffaf00", "#00ff5f", "#ff87ff", "#ffffff", "#ffff00"),
)
PALETTES = {palette.name: palette for palette in (DARK, LIGHT, CONTRAST)}


def palette_for(background: str | None) -> Palette:
    """The palette that suits a terminal with this background; dark where it is not known."""
    return DARK if background is None or Color.parse(background).brightness < 0.5 else LIGHT


@lru_cache(maxsize=512)
def style_of(role: str, palette: Palette) -> Style:
    """The style of a role, or of several in one string such as `error strong`."""
    return Style.combine([Style(), *(_style(word, palette) for word in role.split())])


def _style(role: str, palette: Palette) -> Style:
    if role.startswith("curve"):
        return Style(color=palette.curves[(int(role[5:]) - 1) % len(palette.curves)])
    colour = {
        "active": palette.accent,
        "accent": palette.accent,
        "good": palette.good,
        "error": palette.error,
        "warning": palette.warning,
        "boundary": palette.warning,
        "waiting": palette.warning,
        "paused": palette.paused,
        "muted": palette.muted,
        "head": palette.muted,
        "axis": palette.muted,
        "line": palette.line,
        "raw": palette.raw,
    }.get(role)
    return Style(
        color=colour,
        bold=role in ("strong", "title", "head") or None,
        reverse=role == "match" or None,
        underline=role == "here" or None,
    )
