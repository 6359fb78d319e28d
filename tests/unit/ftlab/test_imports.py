"""`ftlab` is light, and exports what it says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ftlab

HEAVY = {"ray", "torch", "transformers", "trl", "peft", "mlflow", "sqlalchemy", "fastapi", "numpy"}
ROOT = Path(ftlab.__file__).parents[1]


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_import_ftlab_costs_nothing():
    loaded = modules_after("import ftlab")
    assert not loaded & {*HEAVY, "pydantic", "httpx2", "websockets", "typer", "rich"}


@pytest.mark.parametrize(
    "module", ["ftlab.client", "ftlab.cli.main", "ftlab.schemas", "ftlab.settings", "ftlab.tui.app", "ftlab.mcp.stdio"]
)
def test_no_part_is_heavy(module):
    assert not modules_after(f"import {module}") & HEAVY


def test_the_help_page_needs_no_client():
    loaded = modules_after("import ftlab.cli.main")
    assert not loaded & {"pydantic", "httpx2", "websockets", "yaml", "rich.console", "textual", "mcp"}


def test_a_snapshot_of_the_monitor_needs_no_textual():
    loaded = modules_after("import ftlab.tui.plain, ftlab.tui.job_feed, ftlab.tui.detail_feed")
    assert not loaded & {*HEAVY, "textual"}


def test_the_command_line_needs_no_async_client():
    loaded = modules_after("from ftlab.client import Client, RetryPolicy")
    assert not {name for name in loaded if name.startswith("ftlab.client._async")}


@pytest.mark.parametrize("name", ftlab.__all__)
def test_every_name_is_there(name):
    assert getattr(getattr(ftlab, name), "__name__", name) == name  # a constant has no name of its own


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(ftlab.__file__).read_text("utf-8"))
    checking = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in checking.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(ftlab.__all__) == set(dir(ftlab))


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        ftlab.Cleint  # noqa: B018
