"""Processes that are the ranks of one group, forked from a process that has imported torch and TRL already."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

TIMEOUT_S = 300

_context = get_context("forkserver")
_context.set_forkserver_preload(["train.lean_libraries", "tests.unit.train.evaluators", "tests.unit.train.ranks"])


class Rank(NamedTuple):
    process: BaseProcess
    pipe: Connection
    """Takes tasks, and gives the answers."""


def start_ranks(work: Callable[..., None], workers: int, store: Path, *arguments: Any) -> list[Rank]:
    """Start `workers` processes that call `work(pipe, *arguments)`; they end with this process."""
    ranks = []
    for rank in range(workers):
        own, other = _context.Pipe()
        process = _context.Process(target=_join, args=(rank, workers, store, work, other, arguments), daemon=True)
        process.start()
        other.close()
        ranks.append(Rank(process, own))
    return ranks


def end_ranks(ranks: list[Rank]) -> None:
    for rank in ranks:
        rank.process.kill()
        rank.process.join()
        rank.pipe.close()


def answers(ranks: list[Rank], task: Any) -> list[Any]:
    """Give every rank the task; return the answers in the order of the ranks."""
    for rank in ranks:
        rank.pipe.send(task)
    found: dict[Any, Any] = {}
    deadline = time.monotonic() + TIMEOUT_S
    while len(found) < len(ranks):
        ready = wait([rank.pipe for rank in ranks if rank.pipe not in found], deadline - time.monotonic())
        assert ready, "the ranks wait for each other"
        for pipe in ready:
            assert isinstance(pipe, Connection)
            try:
                found[pipe] = pipe.recv()
            except EOFError:
                raise AssertionError("a rank failed") from None
    return [found[rank.pipe] for rank in ranks]


def _join(
    rank: int, workers: int, store: Path, work: Callable[..., None], pipe: Connection, arguments: tuple[Any, ...]
) -> None:
    import torch
    import torch.distributed as dist

    shared = {"WORLD_SIZE": workers, "LOCAL_WORLD_SIZE": workers, "RANK": rank, "LOCAL_RANK": rank}
    os.environ |= {name: str(value) for name, value in shared.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=workers, timeout=timedelta(seconds=TIMEOUT_S)
    )
    work(pipe, *arguments)
