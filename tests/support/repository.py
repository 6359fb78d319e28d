"""What the checks of this repository look at: its files, its documents, and what the code says of itself."""

import ast
import itertools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel

from ftlab import errors
from ftlab.cli.commands import app_with
from ftlab.client import Client
from ftlab.schemas import JobConfig
from tests.support.documents import ROOT, Block, blocks

DOCS = ROOT / "docs"
QUICKSTART = DOCS / "quickstart.md"
PACKAGES = ("ftlab", "tracking", "train", "cluster", "serve")


def repository_files() -> list[Path]:
    """Every file that git keeps or would keep; all files outside ignored folders where there is no git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        found = [ROOT / name for name in listed if name]
    except (FileNotFoundError, subprocess.CalledProcessError):
        ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()} | {".git"}
        found = [path for path in ROOT.rglob("*") if not ignored & set(path.relative_to(ROOT).parts)]
    return sorted(path for path in found if path.is_file())


FILES = repository_files()
MARKDOWN = [path for path in FILES if path.suffix == ".md"]
SOURCES = [path for path in FILES if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# Documents


def reference(name: str) -> str:
    """The text of a page of the reference."""
    return (DOCS / "reference" / f"{name}.md").read_text("utf-8")


def row_of(text: str, name: str) -> str:
    """The one table row whose first cell is `name` in code quotes."""
    rows = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, f"there must be one row for {name}, there are {len(rows)}"
    return rows[0]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of any level."""
    _, found, after = text.partition(f"{heading}\n")
    assert found, f"there is no heading {heading}"
    return re.split(r"^#", after, maxsplit=1, flags=re.MULTILINE)[0]


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path: Path) -> list[str]:
    """The relative links of a page, without its code blocks."""
    prose = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"[a-z]+:", link)]


def blocks_of(language: str) -> list[Block]:
    """The code blocks of one language in all pages."""
    return list(itertools.chain.from_iterable(blocks(path, language) for path in MARKDOWN))


# The command line


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    if command.invoke_without_command:
        yield name, command
    for child, below in command.commands.items():
        yield from _commands(below, f"{name} {child}")


CLI: dict[str, Any] = dict(_commands(typer.main.get_command(app_with(None)), "ftlab"))
"""Every command by its full name."""


def spellings(command: Any) -> set[str]:
    """Every way to write an option of a command."""
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    found = {spelling for option in options for spelling in (*option.opts, *option.secondary_opts)}
    return found | {"--help", "-h"}


# The SDK


def public_methods(owner: type) -> list[str]:
    return [name for name, value in vars(owner).items() if callable(value) and not name.startswith("_")]


def client_calls() -> list[str]:
    """`client.queue(`, `client.jobs.get(` and so on."""
    with Client("http://127.0.0.1:1", "") as client:
        names = ("jobs", "datasets", "templates", "models", "notifications", "costs", "quota")
        owners = {"client": client} | {f"client.{name}": getattr(client, name) for name in names}
        return [f"{path}.{name}(" for path, owner in owners.items() for name in public_methods(type(owner))]


# The job config


def _leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, tuple[Any, dict[str, Any]]]]:
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        groups = _groups(field.annotation)
        for group in groups:
            yield from _leaves(group, f"{prefix}{name}.")
        if not groups:
            yield f"{prefix}{name}", (field, properties[name])


def _groups(annotation: Any) -> list[type[BaseModel]]:
    """The groups of settings that a field can have: one, or one for each kind, such as the training methods."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [group for argument in get_args(annotation) for group in _groups(argument)]


CONFIG_FIELDS = dict(reversed(list(_leaves(JobConfig))))
"""Field and JSON schema of every setting of a job by its dotted name; of methods that share one, those of the first."""

_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_LENGTHS = ("minLength", "maxLength", "minItems", "maxItems")


def bounds(schema: dict[str, Any]) -> Iterator[Any]:
    """The numbers that a value must lie between, and the words that it may be."""
    yield from (schema[name] for name in (*_LIMITS, *_LENGTHS, "const") if name in schema)
    yield from schema.get("enum", ())
    for inner in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())):
        yield from bounds(inner)


# Errors


def error_codes() -> dict[str, str]:
    """Every code that the source gives an error, and a place where it does."""
    found = {value.default_code: name for name, value in vars(errors).items() if hasattr(value, "default_code")}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and _called(node).endswith(("Error", "_bad_request")):
                given = [*node.args[1:2], *(item.value for item in node.keywords if item.arg == "code")]
                texts = [str(value.value) for value in given if isinstance(value, ast.Constant)]
                codes = [text for text in texts if re.fullmatch(r"[a-z]+(_[a-z]+)+", text)]
                found |= dict.fromkeys(codes, f"{shown(path)}:{node.lineno}")
    return found


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
