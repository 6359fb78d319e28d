"""The background colour of the terminal, by asking it."""

import os
import re
import select
import sys
import termios
import time
import tty

TIMEOUT_S = 0.4
"""A terminal across a slow connection; one that does not know the question still answers the second one at once."""
_QUESTIONS = b"\x1b]11;?\x1b\\\x1b[c"
"""The background (OSC 11), then the kind of terminal (DA1), which every terminal answers."""
_COLOUR = re.compile(rb"\x1b\]11;rgba?:([0-9a-fA-F]+)/([0-9a-fA-F]+)/([0-9a-fA-F]+)")
_KIND = re.compile(rb"\x1b\[\?[\d;]*c")


def terminal_background(timeout_s: float = TIMEOUT_S) -> str | None:
    """`#rrggbb`; `None` where this is not a terminal, or it does not say."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSANOW)
        os.write(sys.stdout.fileno(), _QUESTIONS)
        return colour_in(_answer(terminal, timeout_s))
    except OSError:
        return None
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)


def _answer(terminal: int, timeout_s: float) -> bytes:
    """What the terminal sends until it has answered the second question, or the time is up."""
    received, deadline = b"", time.monotonic() + timeout_s
    while not _KIND.search(received):
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([terminal], [], [], left_s)[0]:
            break
        received += os.read(terminal, 1024)
    return received


def colour_in(answer: bytes) -> str | None:
    """The colour in an answer such as `rgb:1e1e/1e1e/2e2e`, as `#rrggbb`."""
    found = _COLOUR.search(answer)
    if found is None:
        return None
    parts = [int(digits, 16) * 255 // (16 ** len(digits) - 1) for digits in found.groups()]
    return "#{:02x}{:02x}{:02x}".format(*parts)
