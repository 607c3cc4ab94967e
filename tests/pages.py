"""The documentation's pages and their fenced blocks, as the tests read them.

A block of commands, in a language of `COMMANDS`, is run by a test as it stands, unless a comment right before it says
why not: ``<!-- not run: needs a cluster -->``. In ``sh`` each line is a command, in ``console`` each line behind a
``$``.
"""

import re
import shlex
from dataclasses import dataclass

from experiments.documentation.hooks import GENERATED
from tests.conftest import REPOSITORY

COMMANDS = ("sh", "console")
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n\n?)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: the page's name.
        line: its first line's number.
        section: the heading above it, "" above the first.
        language: behind the fence.
        text: its lines.
        reason: why it is not run, "" where it is.
    """

    page: str
    line: int
    section: str
    language: str
    text: str
    reason: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command."""
        text = self.text.replace("\\\n", " ")
        if self.language == "console":
            text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
        return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def _pages() -> dict[str, str]:
    docs, own = REPOSITORY / "docs", ("README.md", "CONTRIBUTING.md")
    pages = {name: (REPOSITORY / name).read_text() for name in own}
    pages |= {path.relative_to(docs).as_posix(): path.read_text() for path in sorted(docs.rglob("*.md"))}
    return pages | {name: page() for name, page in GENERATED.items()}


def _blocks(page: str, text: str) -> list[Block]:
    found = []
    for match in FENCE.finditer(text):
        before = text[: match.start("text")]
        headings = re.findall(r"^## (.*)$", before, re.MULTILINE)
        found.append(
            Block(
                page=page,
                line=before.count("\n") + 1,
                section=headings[-1] if headings else "",
                language=match["language"],
                text=match["text"],
                reason=match["reason"] or "",
            )
        )
    return found


PAGES = _pages()
"""Markdown by the page's name, in `docs` with its folder: ``studies/index.md``."""

BLOCKS = [block for page, text in PAGES.items() for block in _blocks(page, text)]
"""Every fenced block, page by page."""
