"""The repository checks itself: what is shipped is documented, and what is documented is true."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

import ftlab
from ftlab.cli.exits import ExitCode
from ftlab.cli.job_source import read_file, read_job
from ftlab.client import AsyncClient, Client
from ftlab.mcp import server as agents
from ftlab.schemas import EventKind, SftMethod, streams
from ftlab.schemas.config_changes import flat
from ftlab.schemas.job_file import parse_any_config, read_yaml, read_yaml_documents
from ftlab.schemas.methods import METHODS, TrainingMethod
from ftlab.schemas.sweep_rules import check_sweep, parse_sweep
from ftlab.schemas.templates import BUILT_IN
from ftlab.settings import Settings
from ftlab.status import FailureCause, JobStatus, ReasonCode
from serve import deployment
from serve.app import create_app
from serve.http.query import OWNER
from serve.streams import server_sent_events, websocket
from serve.streams.live_stream import CloseReason
from tests.support.documents import README, ROOT, Block, block, blocks
from tests.support.repository import (
    CLI,
    CONFIG_FIELDS,
    DOCS,
    FILES,
    MARKDOWN,
    QUICKSTART,
    SOURCES,
    anchors,
    blocks_of,
    bounds,
    cells,
    client_calls,
    error_codes,
    links,
    public_methods,
    reference,
    row_of,
    section,
    shown,
    spellings,
)
from train.data.shapes.shapes import Rule, Shape

SDK_PAGE = DOCS / "howto" / "use-the-sdk.md"
OPTION = r"`(-{1,2}[a-z][\w-]*)"
TOOLS = {"cd", "curl", "ftlab", "git", "make", "npm", "pip", "python", "python3", "source"}
"""What readers have besides the commands of this repository."""
INTERNAL_CODES = {"hub_unavailable"}
"""Codes of errors that the service catches itself."""


# Files


def test_source_files_are_short() -> None:
    lengths = {shown(path): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length >= 400} == {}


def test_every_folder_of_python_files_is_a_package() -> None:
    folders = {path.parent for path in FILES if path.suffix == ".py"}
    by_path = {"migrations", "versions", "examples"}  # alembic and readers run these files by their path
    missing = [folder for folder in folders if folder.name not in by_path and not (folder / "__init__.py").exists()]
    assert not missing


def test_no_file_names_a_home_folder_or_a_package_registry() -> None:
    home = r"(?<![\w.~}])/(?:home|Users)/\w+|(?<![\w.~}])/root[/]"
    registry = r"(?:pypi|pythonhosted|npmjs)[.](?:org|com)"
    texts = {shown(path): path.read_bytes().decode("utf-8", "replace") for path in FILES}
    assert {path: found for path, text in texts.items() if (found := re.findall(f"{home}|{registry}", text))} == {}


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    assert section((ROOT / "CHANGELOG.md").read_text("utf-8"), "## Unreleased") is not None


def test_the_licence_is_the_one_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


# The SDK


def test_every_public_name_is_documented() -> None:
    code = re.findall(r"`[^`\n]*`", SDK_PAGE.read_text("utf-8"))
    assert all(getattr(ftlab, name) for name in ftlab.__all__)
    documented = {word for text in code for word in re.findall(r"\w+", text)}
    assert [name for name in ftlab.__all__ if name not in documented] == []


def test_every_call_of_the_client_is_documented() -> None:
    page = SDK_PAGE.read_text("utf-8")
    assert [call for call in client_calls() if f"`{call}" not in page] == []


def test_the_async_client_has_the_same_calls() -> None:
    assert public_methods(AsyncClient) == public_methods(Client)


def test_the_sync_client_is_the_generated_one() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "unasync.py"), "--check"]
    checked = subprocess.run(script, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


# Settings and the command line


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_variable_and_default(name: str) -> None:
    _, variable, default, meaning = cells(row_of(reference("settings"), name))
    assert variable == f"`FTLAB_{name.upper()}`"
    assert meaning
    value = Settings.model_fields[name].default
    if isinstance(value, bool | int | float | str):
        assert default == f"`{value if isinstance(value, str) else json.dumps(value)}`"


@pytest.mark.parametrize("name", CLI)
def test_every_command_and_option_is_documented(name: str) -> None:
    own = set(re.findall(OPTION, section(reference("cli"), f"### `{name}`")))
    common = set(re.findall(OPTION, section(reference("cli"), "## Common options")))
    assert own <= spellings(CLI[name]) <= own | common


def test_no_command_is_documented_that_does_not_exist() -> None:
    assert set(re.findall(r"^### `(ftlab [^`]+)`$", reference("cli"), re.MULTILINE)) == set(CLI)


def test_every_exit_code_is_documented() -> None:
    table = section(reference("cli"), "## Exit codes")
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == [int(code) for code in ExitCode]


# The job config


@pytest.mark.parametrize("name", CONFIG_FIELDS)
def test_every_field_of_a_job_is_documented_with_its_bounds_and_default(name: str) -> None:
    field, schema = CONFIG_FIELDS[name]
    _, allowed, default, meaning = cells(row_of(reference("job-config"), name))
    assert meaning
    assert default == ("required" if field.is_required() else f"`{json.dumps(field.default)}`")
    for bound in bounds(schema):
        word = bound if isinstance(bound, str) else json.dumps(bound)
        assert re.search(rf"(?<![\w.]){re.escape(word)}(?!\w|\.\d)", allowed), f"{word} is not named"


@pytest.mark.parametrize("method", METHODS)
def test_every_word_that_a_field_of_a_method_may_be_is_documented(method: type[TrainingMethod]) -> None:
    for name, schema in method.model_json_schema()["properties"].items():
        for word in bounds(schema):
            if isinstance(word, str):
                assert f"`{word}`" in row_of(reference("job-config"), f"method.{name}")


def test_the_example_of_every_setting_has_every_setting_with_its_default() -> None:
    file = DOCS / "examples" / "job.yaml"
    given = flat(read_yaml(file.read_text("utf-8"), file.name))
    chosen = {"name", "model", "dataset", "eval_dataset"}
    of_sft = {f"method.{name}" for name in SftMethod.model_fields}
    of_others = {name for name in CONFIG_FIELDS if name.startswith("method.")} - of_sft
    assert set(given) == set(CONFIG_FIELDS) - of_others
    assert {name: value for name, value in given.items() if name not in chosen} == {
        name: field.default for name, (field, _) in CONFIG_FIELDS.items() if name not in chosen | of_others
    }


# Shipped YAML


@pytest.mark.parametrize("path", sorted((DOCS / "examples").glob("*.yaml")), ids=shown)
def test_every_example_job_can_be_submitted(path: Path) -> None:
    assert set(read_job(read_file(path), []).named) == {"dataset", "eval_dataset"}


def test_every_built_in_template_is_one_that_is_checked() -> None:
    assert {path.stem for path in (ROOT / "ftlab" / "templates").glob("*.yaml")} == set(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_template_is_documented(name: str) -> None:
    assert cells(row_of((DOCS / "howto" / "use-templates.md").read_text("utf-8"), name))[1]


@pytest.mark.parametrize("path", sorted((ROOT / "ray_configs").glob("*.yaml")), ids=shown)
def test_every_serve_config_is_one_that_serve_takes(path: Path) -> None:
    config = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text("utf-8")))
    [application] = config.applications
    assert application.import_path == f"{deployment.__name__}:{deployment.build.__name__}"
    assert deployment.build(application.args)
    assert config.http_options.host == Settings().host
    assert config.http_options.request_timeout_s is None


def test_no_yaml_is_shipped_that_nothing_checks() -> None:
    checked = {"docs/examples", "ray_configs", "ftlab/templates"}
    yamls = [path for path in FILES if path.suffix in {".yaml", ".yml"}]
    assert [shown(path) for path in yamls if shown(path.parent) not in checked] == []


# The HTTP API


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """`GET /path` -> its OpenAPI operation, from the application itself."""
    services: Any = SimpleNamespace(settings=Settings(home=tmp_path_factory.mktemp("home")))
    paths = create_app(services).openapi()["paths"]
    return {f"{method.upper()} {path}": found for path, item in paths.items() for method, found in item.items()}


def test_every_route_is_documented_and_no_other(operations: dict[str, dict[str, Any]]) -> None:
    documented = re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", reference("http"), re.MULTILINE)
    assert sorted(documented) == sorted(operations)


def test_every_parameter_of_a_route_is_documented(operations: dict[str, dict[str, Any]]) -> None:
    assert f"`?{OWNER}=NAME` on any route" in reference("http")
    for name, operation in operations.items():
        row = row_of(reference("http"), name)
        for parameter in operation.get("parameters", ()):
            if parameter["in"] != "path" and parameter["name"] != OWNER:
                assert re.search(rf"`{parameter['name']}[`=]", row), f"{name}: {parameter['name']}"


def test_the_live_stream_is_documented() -> None:
    text = reference("streams")
    for route in (*websocket.router.routes, *server_sent_events.router.routes):
        assert f"`GET {route.path}`" in text
    for message in re.findall(
        r'^    type: Literal\["(\w+)"\]', Path(streams.__file__).read_text("utf-8"), re.MULTILINE
    ):
        assert f'{{"type": "{message}"' in text, message
    for code in set(CloseReason) - {CloseReason.JOB_ENDED, CloseReason.TOO_SLOW}:
        assert f'"code": "{code}"' in text, code
    for code in (
        websocket.NORMAL,
        websocket.FORBIDDEN,
        websocket.RESTARTING,
        websocket.TRY_AGAIN,
        websocket.BAD_REQUEST,
        websocket.NO_KEY,
        websocket.NOT_ALLOWED,
        websocket.NOT_FOUND,
        websocket.TOO_SLOW,
    ):
        assert re.search(rf"^\| {code}\b", text, re.MULTILINE), code


@pytest.mark.parametrize(
    ("name", "words"),
    [("errors", ReasonCode), ("errors", Rule), ("events", EventKind), ("http", JobStatus), ("http", Shape)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_every_word_of_the_wire_is_documented(name: str, words: Any) -> None:
    text = reference(name)
    assert [word.value for word in words if f"`{word.value}`" not in text] == []


@pytest.mark.parametrize("words", [ReasonCode, FailureCause], ids=lambda words: words.__name__)
def test_every_reason_and_every_cause_of_a_failure_has_a_cure(words: Any) -> None:
    text = (DOCS / "howto" / "when-a-job-fails.md").read_text("utf-8")
    assert [word.value for word in words if f"`{word.value}`" not in text] == []
    causes = [cells(line) for line in section(text, "## Causes").splitlines() if line.startswith("| `")]
    assert [row[0].strip("`") for row in causes if not all(row)] == []
    assert {row[0].strip("`") for row in causes} == {cause.value for cause in FailureCause}


def test_every_error_code_is_documented() -> None:
    text, codes = reference("errors"), error_codes()
    assert len(codes) > 20
    undocumented = {code: place for code, place in codes.items() if f"`{code}`" not in text}
    assert set(undocumented) <= INTERNAL_CODES, undocumented


def test_every_tool_for_agents_is_documented_with_its_scope() -> None:
    table = section((DOCS / "howto" / "use-from-an-agent.md").read_text("utf-8"), "## The tools")
    rows = [cells(line) for line in table.splitlines() if line.startswith("| `")]
    documented = {name: scope.strip("`") for names, _, scope in rows for name in re.findall(r"`(\w+)`", names)}
    assert documented == {tool.name: tool.scope.value for tool in agents.TOOLS}


# The documents


def test_every_benchmark_row_is_documented_and_no_other() -> None:
    modules = [path.stem for path in (ROOT / "tests" / "bench").glob("row*.py")]
    rows = re.findall(r"^\| (\d+) \|", (DOCS / "explanation" / "performance.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(map(int, rows)) == sorted(int(name[len("row") :].partition("_")[0]) for name in modules)


def test_every_relative_link_leads_somewhere() -> None:
    for path, link in [(page, link) for page in MARKDOWN for link in links(page)]:
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), f"{shown(path)}: {link} leads nowhere"
        assert file.is_relative_to(ROOT), f"{shown(path)}: {link} leads out of the repository"
        assert not anchor or anchor in anchors(file), f"{shown(path)}: {link} names no heading"


def test_every_page_can_be_reached_from_an_index() -> None:
    indexes = (DOCS / "README.md", DOCS / "adr" / "README.md")
    linked = {(index.parent / link.partition("#")[0]).resolve() for index in indexes for link in links(index)}
    pages = {path for path in MARKDOWN if DOCS in path.parents and path != indexes[0]}
    assert {shown(path) for path in pages - linked} == set()


@pytest.mark.parametrize("shell", blocks_of("bash"), ids=str)
def test_shell_blocks_name_only_what_exists(shell: Block) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for line in shell.text.replace("\\\n", " ").splitlines():
        for command in re.split(r"\$\(|\||&&", re.sub(r"^\w+=(?=\$\()", "", line)):
            words = command.partition(")")[0].split()
            assert not words or words[0] in TOOLS, f"{words[0]} is not a command that readers have"
            if words[:1] == ["make"]:
                assert set(words[1:]) <= targets
            if words[:1] == ["ftlab"] and words != ["ftlab", "--version"]:
                _check_command(words)


def _check_command(words: list[str]) -> None:
    """The command exists and has the options that it is given."""
    if words[1:2] == ["sweep"] and words[2].endswith(".yaml"):
        words = [*words[:2], "start", *words[2:]]
    name = next((" ".join(words[:count]) for count in (3, 2) if " ".join(words[:count]) in CLI), None)
    assert name, f"{' '.join(words)} names no command"
    given = {word.partition("=")[0] for word in words if re.match(r"-{1,2}[a-z]", word)}
    assert given <= spellings(CLI[name]), f"{' '.join(words)} has an option that {name} has not"


@pytest.mark.parametrize("source", blocks_of("python"), ids=str)
def test_python_blocks_compile_and_import_public_names(source: Block) -> None:
    for node in ast.walk(ast.parse(source.text, str(source))):
        if isinstance(node, ast.ImportFrom) and node.module == "ftlab":
            assert {alias.name for alias in node.names} <= set(ftlab.__all__)


@pytest.mark.parametrize("document", blocks_of("yaml"), ids=str)
def test_yaml_blocks_are_jobs_or_sweeps(document: Block) -> None:
    for value in read_yaml_documents(document.text, str(document)):
        if "parameters" in value:
            check_sweep(parse_sweep(value, str(document)))
        else:
            parse_any_config(value, str(document))


@pytest.mark.parametrize("document", blocks_of("json"), ids=str)
def test_json_blocks_can_be_read(document: Block) -> None:
    assert json.loads(document.text)


@pytest.mark.parametrize("document", blocks_of("toml"), ids=str)
def test_toml_blocks_are_settings(document: Block) -> None:
    assert Settings.model_validate(tomllib.loads(document.text))


def test_every_code_block_is_one_that_is_checked() -> None:
    checked = {"bash", "python", "yaml", "json", "toml", "text"}
    assert [str(found) for path in MARKDOWN for found in blocks(path) if found.language not in checked] == []


@pytest.mark.parametrize("path", [README, QUICKSTART], ids=shown)
def test_the_job_that_newcomers_copy_names_files_of_the_repository(path: Path) -> None:
    document = read_yaml(block("job", path).text, path.name)
    assert all((ROOT / document[field]).is_file() for field in ("dataset", "eval_dataset"))


def test_the_sdk_block_of_the_readme_is_about_ten_lines() -> None:
    sdk = block("sdk")
    assert sdk.language == "python"
    assert len(sdk.text.splitlines()) <= 12


def test_every_file_that_the_architecture_names_exists() -> None:
    text = (DOCS / "explanation" / "architecture.md").read_text("utf-8")
    paths = re.findall(r"`([a-z_]+/[\w/]+\.py)`", text)
    assert len(paths) > 40
    assert [path for path in paths if not (ROOT / path).is_file()] == []
    tree = text[text.index("## The source") :].split("```")[1]
    packages = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("*/*/__init__.py")}
    named = {word for line in tree.splitlines() for word in re.findall(r"([\w/]+)/", line)}
    packages = {name for name in packages if not name.startswith("tests/")}
    assert {name.split("/")[1] for name in packages} <= {part for name in named for part in name.split("/")}
