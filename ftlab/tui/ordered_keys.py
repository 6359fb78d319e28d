"""Keys that arrive together, each handled where the one before it has led."""

import time
from collections import deque
from collections.abc import Sequence

from textual.app import App
from textual.events import Event, Key, Paste
from textual.message_pump import MessagePump

LONGEST_S = 1.0
"""A key that arrives so long after the last one was handed out no longer waits for its effect."""


class OrderedKeys(App[None]):
    """An app that hands out a key when the one before it has had its effect.

    Textual gives a key to the widget that has the focus when the key arrives. The key before it may still be in the
    queue of a widget then, and would move the focus or open a screen too late.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting_keys: deque[Key | Paste] = deque()
        """Keys, and pasted texts, that wait for their turn."""
        self._turn = 0
        """Number of the chain that hands them out: a later one takes over from one that got stuck."""
        self._is_handling_key = False
        self._handled_since = 0.0

    @property
    def is_handling_keys(self) -> bool:
        """Whether a key waits, or has not had its effect."""
        return self._is_handling_key

    async def on_event(self, event: Event) -> None:
        if not isinstance(event, Key | Paste) or event.is_forwarded:
            await super().on_event(event)
            return
        self._waiting_keys.append(event)
        if not self._is_handling_key or time.monotonic() - self._handled_since > LONGEST_S:
            self._turn += 1
            await self._handle_next_key(self._turn)

    async def _handle_next_key(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._is_handling_key = bool(self._waiting_keys)
        if not self._waiting_keys:
            return
        self._handled_since = time.monotonic()
        target = self.focused or self.screen
        await super().on_event(self._waiting_keys.popleft())
        # Twice: a message that the target posts for the key, such as the submission of an input, follows behind it.
        self._wait_behind(2 * target.ancestors_with_self, turn)

    def _wait_behind(self, pumps: Sequence[MessagePump], turn: int) -> None:
        """Wait for what a key causes: in the queues that it passes, then in that of a screen that it has opened."""
        for place, pump in enumerate(pumps):
            if pump.call_later(self._wait_behind, pumps[place + 1 :], turn):
                return
        if not self.screen.call_later(self.call_later, self._handle_next_key, turn):
            self.call_later(self._handle_next_key, turn)
