"""Common parts of all pages: the frame, the style sheet, and escaped text."""

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence

STYLE = """
:root { color-scheme: light dark; --ink: #1a1d21; --soft: #59626c; --paper: #fff; --line: #d5dae0; --shade: #f2f4f7;
  --error: #a8071a; --warning: #8a5a00; --info: #0b5cad; --trained: #c6efd0; --special: #dcd3f7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #a0a9b4; --paper: #15181c; --line: #373e47;
  --shade: #1f242a; --error: #ff8a80; --warning: #ffca6b; --info: #8ec5ff; --trained: #1d5630; --special: #453673; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem;
  margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25rem .75rem .25rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: break-word; }
th { font-weight: 600; color: var(--soft); } th, td code, td span { white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.error { color: var(--error); font-weight: 600; } .warning { color: var(--warning); } .info { color: var(--info); }
code { font: .9em ui-monospace, monospace; } svg { display: block; fill: var(--info); }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); gap: .75rem; padding: 0; }
.facts div { background: var(--shade); border-radius: .4rem; padding: .5rem .75rem; }
.facts dt { color: var(--soft); font-size: .85rem; } .facts dd { margin: 0; font-size: 1.15rem; }
.tokens { font: 14px/1.9 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere;
  background: var(--shade); border-radius: .4rem; padding: .75rem; }
.tokens span { border-left: 1px solid var(--line); } .tokens i { color: var(--soft); font-style: normal; }
.trained { background: var(--trained); text-decoration: underline; text-decoration-thickness: 1px; }
.special { background: var(--special); font-weight: 600; } .special.trained { background: var(--special); }
.cut { color: var(--soft); background: none; opacity: .6; text-decoration: line-through; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""The Content-Security-Policy that these pages need: their style sheet and nothing else."""


def page(title: str, body: Iterable[str], *, refresh_s: int | None = None) -> str:
    """A whole document; `title` is text, `body` is markup. With `refresh_s` it loads itself again."""
    refresh = f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{refresh}<title>{text(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def text(value: object) -> str:
    """Any value as escaped markup."""
    return html.escape(str(value), quote=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """`columns` are texts, and numbers where they begin with `#`; the cells are markup."""
    classes = [' class="number"' if column.startswith("#") else "" for column in columns]
    head = "".join(
        f'<th scope="col"{kind}>{text(column.removeprefix("#"))}</th>'
        for column, kind in zip(columns, classes, strict=True)
    )
    lines = [
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, classes, strict=True)) + "</tr>"
        for row in rows
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table>"


def bar(share: float) -> str:
    """A horizontal bar; `share` is from 0 to 1."""
    width = max(1, round(300 * share)) if share > 0 else 0
    return f'<svg width="300" height="12" aria-hidden="true"><rect width="{width}" height="12"></rect></svg>'
