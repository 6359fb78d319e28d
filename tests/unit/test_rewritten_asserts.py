"""pytest takes the modules whose asserts were rewritten beforehand, and rewrites no module a second time."""

import sys
from importlib.util import module_from_spec
from pathlib import Path

import pytest

from tests.support.rewritten_asserts import modules_in, rewrite


def test_a_module_that_was_rewritten_is_imported_as_it_is(
    tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
):
    module = tmp_path / "test_sums.py"
    module.write_text("def test_sum():\n    total = 1 + 1\n    assert total == 3\n")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    rewrite([module], pytestconfig)
    monkeypatch.setattr("_pytest.assertion.rewrite._rewrite_test", None)
    monkeypatch.setattr("tests.support.rewritten_asserts._rewrite_test", None)
    rewrite([module], pytestconfig)
    spec = pytestconfig.pluginmanager.rewrite_hook.find_spec("test_sums", [str(tmp_path)])
    assert spec is not None
    assert spec.loader is not None
    found = module_from_spec(spec)
    spec.loader.exec_module(found)
    with pytest.raises(AssertionError, match="assert 2 == 3"):
        found.test_sum()


def test_modules_are_those_of_files_and_folders(tmp_path: Path):
    folder = tmp_path / "unit"
    (folder / "train").mkdir(parents=True)
    names = ("conftest.py", "rows.py", "train/test_run.py")
    for name in names:
        (folder / name).write_text("#" * len(name))
    alone = tmp_path / "test_prose.py"
    alone.write_text("")
    assert modules_in([folder, alone]) == [folder / "train" / "test_run.py", folder / "conftest.py", alone]
