"""The names of the commands, and what a call or a completion needs of them. Imports next to nothing."""

import os
from collections.abc import Sequence

MODULES: dict[str, tuple[str, ...]] = {
    "up": ("up", "down"),
    "status": ("status", "config"),
    "submit": ("submit",),
    "watch": ("wait", "logs", "events"),
    "job_files": ("init", "clone"),
    "monitor": ("monitor",),
    "samples": ("samples",),
    "chat": ("chat",),
    "jobs": ("ls", "metrics", "queue"),
    "checkpoints": ("checkpoints",),
    "job_details": ("show",),
    "analyze": ("analyze",),
    "why": ("why",),
    "compare": ("compare",),
    "evaluate": ("eval", "results"),
    "export": ("export", "exports", "push"),
    "sweep": ("sweep",),
    "control": ("pause", "resume", "append", "move", "release", "cancel", "rm"),
    "download": ("download",),
    "records": ("datasets", "models"),
    "import_openai": ("import",),
    "templates": ("templates",),
    "models": ("models",),
    "inference": ("inference",),
    "preview": ("datasets",),
    "checks": ("datasets",),
    "notify": ("notify",),
    "costs": ("costs",),
    "nodes": ("nodes",),
    "disk": ("disk",),
    "quota": ("quota",),
    "users": ("users",),
    "keys": ("keys",),
    "login": ("login", "logout", "audit"),
    "mcp": ("mcp", "skill"),
}
"""The commands that each module registers, in the order of the help page."""


def command_in(arguments: Sequence[str]) -> str | None:
    """The command in the arguments of a call; `None` where there is none, as in a call for the help page."""
    words = iter(arguments)
    for word in words:
        if word == "--server":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def words_before_cursor() -> list[str] | None:
    """The words before the one that a shell wants completed; `None` where no shell asks for a completion."""
    if "_FTLAB_COMPLETE" not in os.environ:
        return None
    return _typed().rpartition(" ")[0].split()[1:]


def names_for_bash() -> list[str] | None:
    """The commands that complete the first word for bash, which shows no help; `None` where bash asks for another one.

    They are in the table, so that nothing has to be imported.
    """
    before, _, begun = _typed().rpartition(" ")
    if os.environ.get("_FTLAB_COMPLETE") != "complete_bash" or len(before.split()) != 1 or begun.startswith("-"):
        return None
    return sorted({name for names in MODULES.values() for name in names if name.startswith(begun)})


def _typed() -> str:
    """The command line up to the cursor."""
    return os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
