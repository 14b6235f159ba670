"""The examples of a page: code blocks whose first line names their file, and how they are applied to a copy of the package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(python|diff|json)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One block; ``file`` is empty where it names none."""

    language: str
    file: str
    text: str

    def apply(self, root: Path) -> None:
        """Writes the new file, or puts the added lines where the lines around them are, which must be one place."""
        path = root / self.file
        if self.language == "python":
            assert not path.exists(), f"{self.file}: a block of Python is a new file"
            path.write_text(self.text, encoding="utf-8")
            return
        lines = self.text.splitlines(keepends=True)
        assert all(line[0] in " +" for line in lines) and any(line[0] == "+" for line in lines), self.text
        around = "".join(line[1:] for line in lines if line[0] == " ")
        before = path.read_text(encoding="utf-8")
        assert before.count(around) == 1, f"{self.file}: found {before.count(around)} times, wanted once:\n{around}"
        path.write_text(before.replace(around, "".join(line[1:] for line in lines)), encoding="utf-8")


def blocks_by_section(page: Path) -> dict[str, list[Block]]:
    """The blocks of each section of the second level, by its heading."""
    _, *sections = re.split(r"^## (.*)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        heading: [_block(language, text) for language, text in _BLOCK.findall(body)]
        for heading, body in zip(sections[::2], sections[1::2], strict=True)
    }


def _block(language: str, text: str) -> Block:
    if language == "json":
        return Block(language, "", text)
    first, _, rest = text.partition("\n")
    assert first.startswith("# redheart/"), f"the first line of a block names its file, found {first!r}"
    return Block(language, first.removeprefix("# "), rest)
