"""CPU priorities: requests first, then training, then preparations for later."""

import os
import shlex
import sys
import threading
from importlib import import_module

from ftlab.lean_imports import paused_collector

TRAINING = 10
"""Training takes every core it gets; a request to the API goes first for the moment that it needs."""
AHEAD_OF_TIME = 19
"""Niceness of work that no job waits for yet."""


KEEP_FREED_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TOP_PAD_": str(256 * 1024**2),
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}
"""For glibc, see mallopt(3). On a CPU each step frees all its activations; given back to the system, every page of them
is fetched and cleared again by the next step, which costs a sixth of the time. Training runs in a thread of Ray's,
hence the one arena: other ones cannot grow by more than 64 MiB."""


def python_for_training(*, on_cpu: bool) -> str:
    """The program that Ray starts the processes of a run with: they are nice before they import anything."""
    variables = [f"{name}={value}" for name, value in KEEP_FREED_MEMORY.items()] if on_cpu else []
    return shlex.join(["env", *variables, "nice", "-n", str(TRAINING), sys.executable])


def import_behind(*modules: str) -> None:
    """Import modules that take seconds, behind everything else that runs.

    In a thread of its own, because on Linux threads have a niceness each, and none can take its own back.
    """
    errors: list[BaseException] = []

    def load() -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), AHEAD_OF_TIME)
            with paused_collector():
                for module in modules:
                    import_module(module)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=load, name="ftlab-import")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
