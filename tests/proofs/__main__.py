"""The proofs: `python -m tests.proofs [--model FOLDER] [--rows FILE] [--max-length N] [--no-service]`.

Prints a line for each proof, and exits with 1 if one does not hold.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.service import own_service
from tests.proofs.material import Finding, Material
from tests.proofs.service import all_doors_show_the_same, download_equals_final_eval_loss, train_in_service
from tests.proofs.training import (
    a_pause_changes_nothing,
    eval_loss_is_of_the_rows_alone,
    loss_series_equals_plain_trl,
    packed_rows_equal_unpacked,
    two_workers_equal_one,
)

TRAINING_PROOFS = (
    loss_series_equals_plain_trl,
    a_pause_changes_nothing,
    two_workers_equal_one,
    packed_rows_equal_unpacked,
    eval_loss_is_of_the_rows_alone,
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    num_failed = 0
    with tempfile.TemporaryDirectory(prefix="ftlab-proofs-") as folder:
        material = Material.make(Path(folder) / "proofs", options.model, options.rows, options.max_length)
        for finding in _findings(material, with_service=options.service):
            print(line(finding), flush=True)
            num_failed += not finding.holds
    return 1 if num_failed else 0


def line(finding: Finding) -> str:
    verdict = "holds" if finding.holds else "FAILS"
    return (
        f"{verdict}  {finding.claim}\n"
        f"       difference {finding.difference:.1e}, at most {finding.tolerance:.0e} allowed: {finding.detail}"
    )


def _findings(material: Material, *, with_service: bool) -> Iterator[Finding]:
    for prove in TRAINING_PROOFS:
        yield prove(material)
    if not with_service:
        return
    with own_service(model_roots=(material.model.resolve().parent,)) as service:
        service.start()
        job = train_in_service(service.client, material, str(material.model.resolve()))
        yield download_equals_final_eval_loss(service.client, job, material)
        yield all_doors_show_the_same(service.client, job, service.settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs", description="Prove that the numbers are right.")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="a model of your own; default: a tiny random one")
    parser.add_argument("--rows", type=Path, metavar="FILE", help="JSONL rows of your own; default: made-up chats")
    parser.add_argument("--max-length", type=int, default=64, help="tokens of a row (default: %(default)s)")
    parser.add_argument("--no-service", dest="service", action="store_false", help="only what needs no service")
    return parser


if __name__ == "__main__":
    sys.exit(main())
