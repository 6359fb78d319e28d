"""Who goes first on a machine's cores: requests, then training, then what is only made ready for later."""

import os
import shlex
import sys
import threading
from importlib import import_module

TRAINING = 10
"""Training takes every core it gets; a request to the API goes first for the moment that it needs."""
AHEAD_OF_TIME = 19
"""What no job waits for yet."""


def python_for_training() -> str:
    """The program that Ray starts the processes of a run with: they are nice before they import anything."""
    return f"nice -n {TRAINING} {shlex.quote(sys.executable)}"


def import_behind(module: str) -> None:
    """Import a module that takes seconds, behind everything else that runs.

    In a thread of its own, because on Linux threads have a niceness each, and none can take its own back.
    """
    errors: list[BaseException] = []

    def load() -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), AHEAD_OF_TIME)
            import_module(module)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=load, name="ftlab-import")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
