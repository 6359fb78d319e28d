"""The proofs that need no service, on a tiny model; `python -m tests.proofs` runs them all."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.proofs.material import Finding, Material
from tests.proofs.training import (
    a_pause_changes_nothing,
    eval_loss_is_of_the_rows_alone,
    loss_series_equals_plain_trl,
    packed_rows_equal_unpacked,
    two_workers_equal_one,
)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("proofs"))


@pytest.mark.parametrize(
    "prove",
    [
        pytest.param(loss_series_equals_plain_trl, id="plain TRL"),
        pytest.param(a_pause_changes_nothing, id="pause"),
        pytest.param(two_workers_equal_one, id="two workers"),
        pytest.param(packed_rows_equal_unpacked, id="packing"),
        pytest.param(partial(eval_loss_is_of_the_rows_alone, two_workers=False), id="eval loss"),
        pytest.param(eval_loss_is_of_the_rows_alone, id="eval loss of two workers", marks=pytest.mark.slow),
    ],
)
def test_the_proof_holds(material: Material, prove: Callable[[Material], Finding]):
    finding = prove(material)
    assert finding.holds, finding


def test_a_difference_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """So the test above can fail."""
    monkeypatch.setattr("tests.proofs.training._plain_trl", lambda *_: dict.fromkeys(range(1, 7), 6.0))
    finding = loss_series_equals_plain_trl(Material.make(tmp_path / "proofs"))
    assert not finding.holds
