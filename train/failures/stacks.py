"""Where the training thread of each worker is, from a dump of the stacks of a run that hangs."""

import re

_WORKER = re.compile(r"^== Worker (?P<rank>\d+): ")
_THREAD = re.compile(r"^Thread \S+ \((?P<state>[^)]*)\)(?:: \"(?P<name>[^\"]*)\")?")
_FRAME = re.compile(r"^    (?P<name>\S+) \((?P<place>[^()]+):(?P<line>\d+)\)")
_TRAINS = ("_run_epoch", "_inner_training_loop", "evaluation_loop", "_train", "deliver", "train_loop")
"""Functions that only the training thread is in."""
_COLLECTIVE = re.compile(r"all_?reduce|all_?gather|broadcast|barrier|monitored_barrier|wait_for_collective")
_PLUMBING = ("wait", "_wait", "acquire", "result", "get", "select", "poll", "sleep", "join")
"""Functions that wait for something, whatever it is: the frame that called them is more specific."""


def training_frames(dump: str) -> list[str]:
    """One sentence for each worker: the innermost frame of its training thread, and what it waits for if known.

    `dump` is what `py-spy dump` prints of each worker, below a heading with its rank. A worker without a thread in the
    training loop has none.
    """
    sentences = []
    for rank, frames in _training_threads(dump):
        named = [name for name, _ in frames]
        place = next((frame for frame in frames if frame[0].rsplit(".", 1)[-1] not in _PLUMBING), frames[0])
        waits = " It waits for the other workers." if any(_COLLECTIVE.search(name) for name in named[:4]) else ""
        sentences.append(f"Worker {rank} is in {place[0]} ({place[1]}).{waits}")
    return sentences


def _training_threads(dump: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """The rank and the frames, innermost first, of each worker's thread that trains."""
    found: dict[str, list[tuple[str, str]]] = {}
    rank = "0"
    frames: list[tuple[str, str]] = []
    for line in [*dump.splitlines(), ""]:
        if frame := _FRAME.match(line):
            frames.append((frame["name"], f"{frame['place']}:{frame['line']}"))
            continue
        if any(name.rsplit(".", 1)[-1] in _TRAINS for name, _ in frames):
            found.setdefault(rank, frames)
        if not _is_within_thread(line):
            frames = []
        if worker := _WORKER.match(line):
            rank = worker["rank"]
        if _THREAD.match(line):
            frames = []
    return list(found.items())


def _is_within_thread(line: str) -> bool:
    """Whether the thread continues after this line: py-spy prints local variables and notes between its frames."""
    return line.startswith("        ")
