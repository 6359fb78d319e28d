"""The benchmark itself: what it prints and what it writes, for a row that needs no service."""

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.processes import ROOT, environment

pytestmark = pytest.mark.slow

HEADER = ["row", "metric", "ours", "baseline", "ratio", "(min-max)", "floor", "target", "verdict"]
NUM_PAIRS = 3
MEASURED = {"list", "get", "position", "claim", "submit"}


def test_the_table_and_the_file_tell_the_same(tmp_path: Path) -> None:
    file = tmp_path / "growth.json"
    command = [sys.executable, "-m", "tests.bench", "8", "--quick", "--pairs", str(NUM_PAIRS), "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_text("utf-8"))

    assert document["failures"] == {}
    assert document["quick"] is True
    assert {each["metric"].replace(",", "").split()[0] for each in document["measurements"]} == MEASURED
    lines = done.stdout.splitlines()
    assert HEADER in [line.split() for line in lines]
    for each in document["measurements"]:
        assert len(each["ours"]) == len(each["baseline"]) == NUM_PAIRS
        assert all(value > 0 for value in each["ours"] + each["baseline"])
        pairs = zip(each["ours"], each["baseline"], strict=True)
        ratio = statistics.median(ours / baseline for ours, baseline in pairs)
        assert each["ratio"]["median"] == ratio
        (line,) = [line for line in lines if line.startswith(f"8    {each['metric']}  ")]
        assert re.match(r" +\S+ ms  +\S+ ms  ", line.removeprefix(f"8    {each['metric']}")), "ours and the baseline"
        assert line.endswith(each["verdict"])


def test_a_row_that_is_not_there_is_named() -> None:
    command = [sys.executable, "-m", "tests.bench", "8", "99"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "There is no row 99" in done.stderr
