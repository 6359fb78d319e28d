"""The fenced code blocks of the documents, so that tests can check and run what readers copy."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"

_FENCE = re.compile(
    r"^(?:<!-- block: (?P<name>[\w-]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One fenced block. `name` is what a comment `<!-- block: NAME -->` on the line above it says."""

    file: Path
    line: int
    """Line of the opening fence."""
    language: str
    name: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def blocks(file: Path = README, language: str | None = None) -> list[Block]:
    """The blocks of a document in order, of one language or of all."""
    content = file.read_text("utf-8")
    found = []
    for match in _FENCE.finditer(content):
        line = content.count("\n", 0, match.start("language")) + 1
        found.append(Block(file, line, match["language"], match["name"], match["text"]))
    return [block for block in found if language in (None, block.language)]


def block(name: str, file: Path = README) -> Block:
    """The one block with this name, such as the README's `sdk` and `job`."""
    [found] = [block for block in blocks(file) if block.name == name]
    return found
