"""Asking the terminal for its background colour."""

import os
import pty
import threading
from types import SimpleNamespace

import pytest

from ftlab.tui import background
from ftlab.tui.background import colour_in, terminal_background
from ftlab.tui.palette import CONTRAST, DARK, LIGHT, PALETTES, palette_for, style_of


@pytest.mark.parametrize(
    ("answer", "colour"),
    [
        (b"\x1b]11;rgb:1e1e/1e1e/2e2e\x1b\\\x1b[?62;c", "#1e1e2e"),
        (b"\x1b]11;rgb:ff/ff/ff\x07", "#ffffff"),
        (b"\x1b]11;rgba:ffff/0000/8080/ffff\x07", "#ff0080"),
        (b"\x1b[?1;2c", None),
        (b"", None),
    ],
)
def test_the_answer_of_a_terminal(answer, colour):
    assert colour_in(answer) == colour


def ask(monkeypatch, answer):
    """What is found in a terminal that answers so."""
    terminal, end = pty.openpty()
    stream = SimpleNamespace(isatty=lambda: True, fileno=lambda: end)
    monkeypatch.setattr(background, "sys", SimpleNamespace(stdin=stream, stdout=stream))

    def respond():
        assert b"\x1b]11;?" in os.read(terminal, 100)
        os.write(terminal, answer)

    thread = threading.Thread(target=respond)
    thread.start()
    found = terminal_background(timeout_s=5.0 if answer else 0.05)
    thread.join()
    os.close(terminal)
    os.close(end)
    return found


def test_a_terminal_is_asked(monkeypatch):
    assert ask(monkeypatch, b"\x1b]11;rgb:fdfd/f6f6/e3e3\x1b\\\x1b[?62;c") == "#fdf6e3"


def test_a_terminal_that_does_not_know_the_question_is_not_waited_for(monkeypatch):
    assert ask(monkeypatch, b"\x1b[?1;2c") is None


def test_a_terminal_that_never_answers_is_left_alone(monkeypatch):
    assert ask(monkeypatch, b"") is None


def test_a_pipe_is_not_asked(monkeypatch):
    stream = SimpleNamespace(isatty=lambda: False)
    monkeypatch.setattr(background, "sys", SimpleNamespace(stdin=stream, stdout=stream))
    assert terminal_background() is None


@pytest.mark.parametrize(("colour", "palette"), [(None, DARK), ("#000000", DARK), ("#fdf6e3", LIGHT)])
def test_the_theme_suits_the_background(colour, palette):
    assert palette_for(colour) is palette
    assert palette.theme(colour).background == (colour or palette.background)


@pytest.mark.parametrize("palette", PALETTES.values(), ids=lambda palette: palette.name)
def test_text_can_be_read_on_its_background(palette):
    """WCAG AA asks for a contrast of 4.5 to 1."""
    for role in ("muted", "accent", "good", "error", "warning", "paused", *(f"curve{place}" for place in range(1, 7))):
        colour = style_of(role, palette).color
        assert contrast(colour.get_truecolor(), palette.background) >= 4.5, role
        if palette is not CONTRAST:
            assert contrast(colour.get_truecolor(), palette.cursor) >= 3.0, role


def contrast(colour, background):
    parts = [int(background[place : place + 2], 16) for place in (1, 3, 5)]
    light, dark = sorted((luminance(colour), luminance(parts)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(parts):
    linear = [part / 3294.6 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
