"""A terminal for tests: a program in a pseudo-terminal, its keys, and the screen that it draws."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

import pyte

KEYS = {"enter": "\r", "escape": "\x1b", "tab": "\t", "down": "\x1b[B", "up": "\x1b[A", "ctrl+r": "\x12"}


class _Screen(pyte.Screen):
    """Answers what a program asks its terminal, and ignores what pyte cannot read."""

    terminal: int

    def write_process_input(self, data: str) -> None:
        os.write(self.terminal, data.encode())

    def report_device_status(self, mode: int, **kwargs: bool) -> None:
        if not kwargs.get("private"):
            super().report_device_status(mode)

    def select_graphic_rendition(self, *attributes: int, **kwargs: bool) -> None:
        if not kwargs.get("private"):
            super().select_graphic_rendition(*attributes)


class Terminal:
    """A running program. Use it as a context manager: it kills the program if it is still there."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], size: tuple[int, int]) -> None:
        columns, lines = size
        self._terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._screen = _Screen(columns, lines)
        self._screen.terminal = self._terminal
        self._stream = pyte.ByteStream(self._screen)
        env = {**environment, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process = subprocess.Popen(command, env=env, stdin=end, stdout=end, stderr=end, start_new_session=True)
        os.close(end)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        os.close(self._terminal)

    @property
    def text(self) -> str:
        """The screen as it is now."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def press(self, *keys: str) -> None:
        """Send keys by their names, or characters."""
        for key in keys:
            os.write(self._terminal, KEYS.get(key, key).encode())
            # Bytes that arrive together after an Escape would be read as one key.
            self.read(0.1)

    def read(self, duration_s: float) -> None:
        """Draw what the program writes for a while."""
        deadline = time.monotonic() + duration_s
        while (left_s := deadline - time.monotonic()) > 0:
            if not select.select([self._terminal], [], [], left_s)[0]:
                return
            try:
                self._stream.feed(os.read(self._terminal, 65536))
            except OSError:  # EIO: the program has ended
                return

    def wait_for(self, *texts: str, timeout_s: float = 30.0) -> str:
        """Wait until the screen shows all texts, and return it."""
        deadline = time.monotonic() + timeout_s
        while not all(text in self.text for text in texts):
            assert time.monotonic() < deadline, f"the screen never showed {texts}:\n{self.text}"
            assert self.process.poll() is None, f"the program ended with {self.process.returncode}:\n{self.text}"
            self.read(0.2)
        return self.text

    def wait_until_gone(self, text: str, timeout_s: float = 30.0) -> None:
        """Wait until the screen does not show a text any more."""
        deadline = time.monotonic() + timeout_s
        while text in self.text:
            assert time.monotonic() < deadline, f"the screen still shows {text}:\n{self.text}"
            self.read(0.2)

    def wait_until_ended(self, timeout_s: float = 30.0) -> int:
        """The exit code."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.2)
        return self.process.wait(max(0.1, deadline - time.monotonic()))
