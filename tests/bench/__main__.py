"""The benchmark table: `python -m tests.bench [ROW ...] [--quick] [--json FILE] [--server URL]`.

Without `--server` one service is started for all rows that need one, and ended with them. With it, rows that need a
service of their own are left out, and FTLAB_HOME must name the home of the one that runs.
"""

import argparse
import json
import pkgutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

from ftlab.errors import FineTuneLabError
from ftlab.settings import load_settings
from tests import bench as package
from tests.bench.bench import PAIRS, QUICK_PAIRS, Bench
from tests.bench.harness import BenchError, Measurement, machine, say, table
from tests.bench.service import Service, own_service

ROW_PREFIX = "row"
NAMED_ROWS = ("peers", "gpu")
"""Rows that are measured only when they are named."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    options.pairs = options.pairs or (QUICK_PAIRS if options.quick else PAIRS)
    # So that the service is stopped and its folder removed, whoever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows = find_rows()
    unknown = set(options.rows) - set(rows)
    if unknown:
        say(f"There is no row {', '.join(sorted(unknown))}; there are {', '.join(rows)}.")
        return 2
    before = machine()
    measured: list[Measurement] = []
    failures: dict[str, str] = {}
    chosen = options.rows or [row for row in rows if row not in NAMED_ROWS]
    with _bench(options, needs_service=any(_needs_service(rows[number]) for number in chosen)) as bench:
        for number in chosen:
            say(f"row {number}: {rows[number].TITLE}")
            try:
                measured += rows[number].run(bench)
            except (BenchError, FineTuneLabError) as error:
                failures[number] = str(error)
                say(f"row {number} failed: {error}")
    print("  ".join(f"{name} {value}" for name, value in before.items()))
    print(
        f"{'quick run, ' if options.quick else ''}{options.pairs} pairs a row; medians; ratio = ours / baseline of the "
        "same pair\n"
    )
    print(table(measured))
    for number, why in failures.items():
        print(f"row {number} FAILED: {why}")
    if options.json:
        document = {
            "machine": before,
            "quick": options.quick,
            "pairs": options.pairs,
            "measurements": [each.to_document() for each in measured],
            "failures": failures,
        }
        options.json.write_text(json.dumps(document, indent=1), "utf-8")
    return 1 if failures else 0


def find_rows() -> dict[str, ModuleType]:
    """The modules `row<NN>_<name>` of this package by the number of their row, then the named ones."""
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__) if found.name.startswith(ROW_PREFIX))
    names = [name for name in names if name[len(ROW_PREFIX)].isdigit()]
    modules = [import_module(f"{package.__name__}.{name}") for name in (*names, *NAMED_ROWS)]
    return {str(module.ROW): module for module in modules}


def _needs_service(row: ModuleType) -> bool:
    return bool(getattr(row, "NEEDS_SERVICE", True))


@contextmanager
def _bench(options: argparse.Namespace, *, needs_service: bool) -> Iterator[Bench]:
    """With a service that is ready, where one is needed."""
    if not needs_service:
        with tempfile.TemporaryDirectory(prefix="ftlab-bench-") as folder:
            yield _bench_of(options, None, folder)
        return
    with _service(options) as service, tempfile.TemporaryDirectory(dir=service.settings.home) as folder:
        service.start()
        yield _bench_of(options, service, folder)


def _bench_of(options: argparse.Namespace, service: Service | None, folder: str) -> Bench:
    return Bench(
        service, Path(folder), options.quick, options.real, options.llamafactory, options.ingress, options.pairs
    )


@contextmanager
def _service(options: argparse.Namespace) -> Iterator[Service]:
    if options.server is None:
        roots = (options.real.parent,) if options.real else ()
        with own_service(ingress=options.ingress, model_roots=roots) as service:
            yield service
        return
    service = Service(load_settings({"server": options.server}), is_own=False)
    try:
        yield service
    finally:
        service.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Prints the benchmark table.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to measure; default: all that have a number")
    parser.add_argument("--quick", action="store_true", help="2 pairs instead of 5, and fewer steps")
    parser.add_argument("--pairs", type=_pairs, metavar="NUMBER", help="how many pairs to measure instead")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the values of all pairs as well")
    parser.add_argument("--server", metavar="URL", help="measure a service that runs already")
    parser.add_argument("--real", type=_folder, metavar="FOLDER", help="row 1: train this model too")
    parser.add_argument(
        "--llamafactory", type=Path, metavar="PYTHON", help="peers: the Python of an environment with LLaMA-Factory"
    )
    parser.add_argument("--ingress", choices=("haproxy", "python"), default="haproxy", help="HTTP front of the service")
    return parser


def _pairs(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pairs; give 1 or more")
    return int(text)


def _folder(text: str) -> Path:
    folder = Path(text).absolute()
    if not (folder / "config.json").exists():
        raise argparse.ArgumentTypeError(f"{folder} holds no config.json")
    return folder


if __name__ == "__main__":
    sys.exit(main())
