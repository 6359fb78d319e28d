"""Numbers, counts, durations, sizes and amounts of money as text."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

_CONTROLS = {code: " " for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
"""The control characters of ASCII and Latin-1, which terminals obey."""


def duration(seconds: float | None) -> str:
    """`1:05`, `2:03:04`, `3 d 4 h`; empty for `None`."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(num_bytes: int) -> str:
    """`512 B`, `1.5 MB`; in powers of 1,000."""
    amount = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.95:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def used_of(used_bytes: int | None, total_bytes: int | None) -> str:
    """`30.0 of 85.9 GB`; empty where it is not known."""
    if used_bytes is None or total_bytes is None:
        return ""
    used, total = size(used_bytes), size(total_bytes)
    return f"{used.removesuffix(total[-3:])} of {total}"


def number(value: float | None) -> str:
    """Four significant digits; empty for `None`."""
    return "" if value is None else f"{value:.4g}"


def counted(number: int, noun: str) -> str:
    """`1 row`, `1,200 rows`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def shown_value(value: object) -> str:
    """A setting as text."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else one_line(value)


def money(amount: "Decimal", currency: str | None) -> str:
    """`12.34 EUR`; with as many more decimals as two digits of a small amount need, such as `0.0012 EUR`."""
    num_decimals = 2 if amount == 0 or amount >= 1 else max(2, 1 - amount.adjusted())
    whole, point, decimals = f"{amount:.{num_decimals}f}".partition(".")
    return f"{whole}{point}{decimals[:2]}{decimals[2:].rstrip('0')} {currency or ''}".rstrip()


def one_line(value: object) -> str:
    """Text without line breaks, tabs and terminal control characters."""
    return "".join(char if char.isprintable() else " " for char in str(value))


def without_controls(text: str) -> str:
    """Text of several lines without terminal control characters. Any other character stays, such as joiners."""
    return text.translate(_CONTROLS)


def markdown_text(text: str) -> str:
    """Text of users without a meaning in Markdown and HTML, on one line, as of a table."""
    text = " ".join(one_line(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|#~>])", r"\\\1", text)
