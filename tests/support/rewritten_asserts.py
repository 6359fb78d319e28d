"""Rewrites the assert statements of test modules, each once, before the processes of pytest-xdist import them.

pytest keeps what it has rewritten beside each module. The processes import the modules in the same order at the same
time, so each would rewrite them all for itself: ten thousand asserts, a quarter of a minute.
"""

import multiprocessing
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from _pytest.assertion.rewrite import PYC_TAIL, _read_pyc, _rewrite_test, _write_pyc, assertstate_key, get_cache_dir

NAMES = ("test_*.py", "conftest.py")


def rewrite_together(config: pytest.Config, num_processes: int) -> None:
    """Rewrite the modules of the files and folders that the command line names, in several processes."""
    if sys.dont_write_bytecode or config.getoption("assertmode") != "rewrite":
        return
    modules = modules_in(Path(argument.partition("::")[0]).absolute() for argument in config.args)
    fork = multiprocessing.get_context("fork")  # which takes the config as it is
    parts = [modules[number::num_processes] for number in range(num_processes)]
    processes = [fork.Process(target=rewrite, args=(part, config)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def modules_in(paths: Iterable[Path]) -> list[Path]:
    """The test modules in files and folders, the largest first."""
    found = {file for path in paths for name in NAMES for file in ([path] if path.is_file() else path.rglob(name))}
    return sorted(found, key=lambda file: (-file.stat().st_size, file))


def rewrite(modules: list[Path], config: pytest.Config) -> None:
    """Rewrite those modules that are new or have changed."""
    for module in modules:
        kept = _kept_file(module)
        if _read_pyc(module, kept) is None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            source_hash, code = _rewrite_test(module, config)
            _write_pyc(config.stash[assertstate_key], code, source_hash, kept)


def _kept_file(module: Path) -> Path:
    """Where pytest keeps a module with its asserts rewritten."""
    return Path(get_cache_dir(module)) / (module.stem + PYC_TAIL)
