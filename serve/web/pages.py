"""Sends the web app: one HTML file for every page, and its hashed assets."""

import re
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ftlab.errors import NotFoundError

STATIC = Path(__file__).parent / "static"
"""What `scripts/web.py` builds. Not in the repository; in a release of the source it is."""
NOT_BUILT = (
    "<!doctype html><title>FineTune Lab</title><p>The web app is not built: run <code>make web</code> in the folder "
    'of FineTune Lab and reload this page; the API is described at <a href="/docs">/docs</a>.'
)
FOREVER = "public, max-age=31536000, immutable"
"""For files whose name has the hash of their content."""

_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_OTHERS = re.compile(r"/(api|ws|assets|docs|static-offline-docs)(/|$)|/[^/]*[.][^/]*$")
"""Paths where an unknown one is an error, and never a page."""


def install(app: FastAPI, folder: Path | None = None) -> None:
    """Add `/`, the assets, and the pages: every other path that a browser opens and no route has."""
    static = folder or STATIC

    async def index(request: Request) -> Response:
        return _index(request, static)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        file = static / "assets" / name
        if not _FILE.fullmatch(name) or name.endswith(".gz") or not file.is_file():
            raise NotFoundError("There is no such file; reload the page if the service was updated.")
        return _send(request, file, FOREVER)

    async def icon(request: Request) -> Response:
        if not (static / "icon.svg").is_file():
            raise NotFoundError("The web app is not built.")
        return _send(request, static / "icon.svg", "max-age=3600")

    app.router.add_route("/", index, include_in_schema=False)
    app.router.add_route("/assets/{name}", asset, include_in_schema=False)
    app.router.add_route("/icon.svg", icon, include_in_schema=False)
    app.router.default = _Pages(app.router.default, static)


class _Pages:
    """Sends the app for the address of a page, which only the app itself knows; leaves the rest to `otherwise`."""

    def __init__(self, otherwise: ASGIApp, static: Path) -> None:
        self._otherwise = otherwise
        self._static = static

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and not _OTHERS.match(scope["path"]):
            request = Request(scope)
            if "text/html" in request.headers.get("accept", ""):
                await _index(request, self._static)(scope, receive, send)
                return
        await self._otherwise(scope, receive, send)


def _index(request: Request, static: Path) -> Response:
    file = static / "index.html"
    return _send(request, file, "no-cache") if file.is_file() else HTMLResponse(NOT_BUILT)


def _send(request: Request, file: Path, cache: str) -> Response:
    """The file, compressed where the build has compressed it and the browser takes it."""
    headers = {"cache-control": cache, "vary": "accept-encoding"}
    packed = file.with_name(f"{file.name}.gz")
    if packed.is_file() and "gzip" in request.headers.get("accept-encoding", ""):
        return FileResponse(packed, headers=headers | {"content-encoding": "gzip"}, media_type=_media_type(file))
    return FileResponse(file, headers=headers, media_type=_media_type(file))


def _media_type(file: Path) -> str:
    # Not guessed: what `mimetypes` knows depends on the machine.
    return _MEDIA_TYPES.get(file.suffix, "application/octet-stream")


_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
