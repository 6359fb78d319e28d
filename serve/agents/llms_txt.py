"""`/llms.txt`, the page that agents read first, and the documentation as Markdown.

Both are public, as the description of the API is: they show nothing of any user.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ftlab.errors import NotFoundError
from serve.http.responses import in_thread

DOCS = Path(__file__).parents[2] / "docs"
"""In a checkout and in a release of the source."""
INTRODUCTION = """\
# FineTune Lab

> A self-hosted service that queues, runs and explains fine-tuning jobs of language models. This is its own address.

A job trains a base model on one or more uploaded datasets, by supervised fine-tuning (`sft`), preferences (`dpo`,
`kto`), a reward model (`reward`) or verifiable rewards (`grpo`), with LoRA, QLoRA or all weights. From a file to a
checked model: upload the file, check it, estimate the job, submit it, wait until it has ended, analyze or compare it.

A service that other machines reach requires an API key: send `Authorization: Bearer ftl_...`. The scope `read` allows
looking, `train` also uploading, submitting and cancelling. Every error is JSON with a sentence that says what to do.

- Agents that speak the Model Context Protocol connect to `/mcp` (streamable HTTP) with the same header.
- On the command line, `ftlab` does everything; `ftlab skill` prints a skill for coding agents, and `ftlab mcp` serves
  the same tools over standard input and output.
"""
CALLS = (
    ("GET", "/api/session"),
    ("POST", "/api/datasets"),
    ("GET", "/api/datasets/{dataset_id}/preview"),
    ("POST", "/api/datasets/{dataset_id}/check"),
    ("POST", "/api/training/jobs/estimate"),
    ("POST", "/api/training/jobs"),
    ("GET", "/api/training/jobs/{job_id}"),
    ("GET", "/api/training/jobs/{job_id}/logs"),
    ("GET", "/api/training/jobs/{job_id}/metrics"),
    ("GET", "/api/training/jobs/{job_id}/failure"),
    ("POST", "/api/training/jobs/{job_id}/resume"),
    ("POST", "/api/training/jobs/{job_id}/cancel"),
    ("GET", "/api/training/compare"),
    ("GET", "/api/training/jobs/{job_id}/download/model"),
    ("GET", "/api/training/queue"),
)
"""The most important calls, in the order in which they are usually made."""

_ROW = re.compile(r"^\| (?P<purpose>[^|]+) \| (?P<links>.*\[.*) \|$", re.MULTILINE)
_LINK = re.compile(r"\[(?P<title>[^\]]+)\]\((?P<page>[^)#]+\.md)\)")

router = APIRouter(tags=["agents"])


class MarkdownResponse(PlainTextResponse):
    """A reply in Markdown."""

    media_type = "text/markdown"


@router.get("/llms.txt", response_class=PlainTextResponse, summary="Get the introduction for language models")
async def get_llms_txt(request: Request) -> Response:
    """What the service is, the most important calls, and links to the documentation, as Markdown."""
    return PlainTextResponse(await in_thread(_llms_txt, request.app))


@router.get(
    "/guide/{page:path}", response_class=MarkdownResponse, summary="Get a page of the documentation as Markdown"
)
async def get_page(page: str) -> Response:
    """The pages that `/llms.txt` and other pages link to, such as `howto/submit-a-job.md`."""
    file = _pages().get(page)
    if file is None:
        raise NotFoundError("There is no such page of the documentation; /llms.txt lists the pages.")
    return MarkdownResponse(file.read_text("utf-8"))


@cache
def _pages() -> dict[str, Path]:
    """The pages by the paths that links name; none where the service was installed without them."""
    return {path.relative_to(DOCS).as_posix(): path for path in DOCS.rglob("*") if path.suffix in (".md", ".yaml")}


def _llms_txt(app: FastAPI) -> str:
    sections = [
        INTRODUCTION,
        "## API\n",
        *("- [Description of every route (OpenAPI)](/openapi.json)", "- [Interactive documentation](/docs)"),
        *_calls(app),
    ]
    if "README.md" in _pages():
        sections += ["", "## Documentation\n", *_index(_pages()["README.md"].read_text("utf-8"))]
    return "\n".join(sections) + "\n"


def _calls(app: FastAPI) -> Iterable[str]:
    """A line for each of the most important calls, with the summary of its route."""
    paths = app.openapi()["paths"]
    return [f"- `{method} {path}`: {paths[path][method.lower()]['summary']}" for method, path in CALLS]


def _index(text: str) -> Iterable[str]:
    """The rows of the index of the documentation as links."""
    for row in _ROW.finditer(text):
        for link in _LINK.finditer(row["links"]):
            yield f"- [{link['title']}](/guide/{link['page']}): {row['purpose']}"
