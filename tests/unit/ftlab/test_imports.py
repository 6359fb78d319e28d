"""`ftlab` is light, and exports what it says."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import ftlab
from ftlab import schemas
from ftlab.cli.command_table import command_in, names_for_bash, words_before_cursor
from ftlab.cli.commands import app_with

HEAVY = {"ray", "torch", "transformers", "trl", "peft", "mlflow", "sqlalchemy", "fastapi", "numpy"}
ROOT = Path(ftlab.__file__).parents[1]


def modules_after(code: str, **variables: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    env = os.environ | variables
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_import_ftlab_costs_nothing():
    loaded = modules_after("import ftlab")
    assert not loaded & {*HEAVY, "pydantic", "httpx2", "websockets", "typer", "rich"}


def test_no_part_is_heavy():
    parts = "ftlab.client, ftlab.cli.main, ftlab.schemas, ftlab.settings, ftlab.tui.app, ftlab.mcp.stdio"
    assert not modules_after(f"import {parts}") & HEAVY


def test_the_help_page_needs_no_client():
    loaded = modules_after("from ftlab.cli.commands import app_with; app_with(None)")
    assert not loaded & {"pydantic", "httpx2", "websockets", "yaml", "rich.console", "textual", "mcp"}


@pytest.mark.parametrize("command", ["ls", "cancel --yes job-001"])
def test_a_command_imports_what_it_shows(fake, command):
    """The types of job configs, events and evaluations alone take as long as the rest of the command."""
    fake.add_job(2)
    call = f"sys.argv = {['ftlab', *command.split()]}"
    script = f"from ftlab.cli.main import main\n{call}\ntry: main()\nexcept SystemExit as end: assert not end.code"
    loaded = modules_after(script, FTLAB_SERVER=fake.url)
    assert {"pydantic", "ftlab.schemas.records"} <= loaded
    unused = {
        "config",
        "methods",
        "evaluation",
        "job_file",
        "telemetry",
        "checks",
        "sweeps",
        "failures",
        "judges",
        "costs",
    }
    assert not loaded & {f"ftlab.schemas.{name}" for name in unused}
    assert not loaded & {*HEAVY, "httpx2", "asyncio", "websockets", "rich.console", "ftlab.cli.submit"}


def test_every_module_has_its_commands_in_the_table():
    """`app_with` would not find a command that is missing there, except from the help page."""
    code = """
from importlib import import_module
import typer
from ftlab.cli.app import app
from ftlab.cli.command_table import MODULES

def names():
    root = typer.main.get_command(app).commands.items()
    return {f"{name} {part}" for name, found in root for part in ("", *getattr(found, "commands", ()))}

seen, found = set(), {}
for module in MODULES:
    import_module(f"ftlab.cli.{module}")
    found[module] = sorted({name.split()[0] for name in names() - seen})
    seen |= names()
assert found == {module: sorted(commands) for module, commands in MODULES.items()}, found
"""
    modules_after(code)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ("ls --limit 3", "ls"),
        ("--json -q ls", "ls"),
        ("--server ls queue", "queue"),
        ("--server=ls queue", "queue"),
        ("--help", None),
        ("", None),
    ],
)
def test_the_command_of_a_call(arguments, command):
    assert command_in(arguments.split()) == command


@pytest.mark.parametrize(
    ("typed", "words"),
    [("ftlab l", []), ("ftlab ls ", ["ls"]), ("ftlab --json ls --sta", ["--json", "ls"]), ("ftlab", [])],
)
@pytest.mark.parametrize("variable", ["COMP_WORDS", "_TYPER_COMPLETE_ARGS"])
def test_what_stands_before_the_word_to_complete(monkeypatch, variable, typed, words):
    monkeypatch.setenv("_FTLAB_COMPLETE", "complete_bash")
    monkeypatch.setenv(variable, typed)
    assert words_before_cursor() == words


def test_a_snapshot_of_the_monitor_needs_no_textual():
    loaded = modules_after("import ftlab.tui.plain, ftlab.tui.job_feed, ftlab.tui.detail_feed")
    assert not loaded & {*HEAVY, "textual"}


def test_the_command_line_needs_no_async_client():
    loaded = modules_after("from ftlab.client import Client, RetryPolicy")
    assert not {name for name in loaded if name.startswith("ftlab.client._async")}


@pytest.mark.parametrize("begun", ["", "lo", "zz"])
def test_bash_gets_the_names_that_the_command_tree_has(monkeypatch, begun):
    monkeypatch.setenv("_FTLAB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"ftlab {begun}")
    known = typer.main.get_command(app_with(None)).commands
    assert names_for_bash() == sorted(name for name in known if name.startswith(begun))


def test_bash_gets_the_names_without_the_command_tree():
    script = "from ftlab.cli.main import main\ntry: main()\nexcept SystemExit as end: assert not end.code"
    loaded = modules_after(script, _FTLAB_COMPLETE="complete_bash", COMP_WORDS="ftlab lo")
    assert "login" in loaded  # what was printed
    assert not loaded & {"typer", "inspect", "ftlab.errors", "ftlab.cli.commands"}


@pytest.mark.parametrize(
    ("shell", "typed"), [("complete_bash", "ftlab --j"), ("complete_bash", "ftlab ls "), ("complete_zsh", "ftlab l")]
)
def test_other_completions_need_the_command_tree(monkeypatch, shell, typed):
    monkeypatch.setenv("_FTLAB_COMPLETE", shell)
    monkeypatch.setenv("COMP_WORDS", typed)
    assert names_for_bash() is None


@pytest.mark.parametrize("name", ftlab.__all__)
def test_every_name_is_there(name):
    assert getattr(getattr(ftlab, name), "__name__", name) == name  # a constant has no name of its own


@pytest.mark.parametrize("name", schemas.__all__)
def test_every_schema_is_there(name):
    assert getattr(schemas, name) is not None


@pytest.mark.parametrize("package", [ftlab, schemas])
def test_type_checkers_see_the_same_names(package):
    tree = ast.parse(Path(package.__file__).read_text("utf-8"))
    checking = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in checking.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(package.__all__) == set(dir(package))


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        ftlab.Cleint  # noqa: B018
