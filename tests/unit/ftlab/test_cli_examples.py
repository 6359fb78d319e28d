"""The example on the help page of each command."""

import shlex

import pytest
from typer.testing import CliRunner

from ftlab.cli.commands import app_with
from ftlab.cli.examples import EXAMPLES
from tests.support.repository import CLI

COMMON = {"context", "server", "as_json", "quiet", "home", "limit"}


def test_every_command_that_takes_something_has_an_example():
    needs = {
        name.removeprefix("ftlab ") for name, found in CLI.items() if {each.name for each in found.params} - COMMON
    }
    assert needs - set(EXAMPLES) == set()
    assert set(EXAMPLES) <= {name.removeprefix("ftlab ") for name in CLI}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_command_that_can_be_given(name: str):
    words = shlex.split(EXAMPLES[name])
    written = name.removesuffix(" start").split()  # `ftlab sweep FILE` is short for `ftlab sweep start FILE`
    assert words[: 1 + len(written)] == ["ftlab", *written]
    context = CLI[f"ftlab {name}"].make_context(name, words[1 + len(written) :])
    assert context.params


def test_the_help_page_shows_it():
    shown = CliRunner().invoke(app_with(None), ["push", "--help"]).output
    assert "Example: ftlab push job-4k0x9r2m7q1z me/support --artifact merged" in " ".join(shown.split())
