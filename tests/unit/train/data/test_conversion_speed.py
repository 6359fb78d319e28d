from pathlib import Path

import pytest

from tests.bench import conversion_speed
from tests.support.rows import read_rows


@pytest.mark.parametrize("name", conversion_speed.NAMES)
def test_the_benchmark_converts_the_same_rows_in_every_format(tmp_path: Path, name: str):
    conversion_speed.write_files(tmp_path, 20)
    assert min(conversion_speed.measure(tmp_path / name)) > 0
    found = [row["messages"] for row in read_rows(tmp_path / "canonical.arrow")]
    conversion_speed.measure(tmp_path / "rows.jsonl")
    assert found == [row["messages"] for row in read_rows(tmp_path / "canonical.arrow")]
    assert len(found) == 20
