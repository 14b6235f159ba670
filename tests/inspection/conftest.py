"""Runs as they lie on disk – one that is whole, one that was stopped – without training any; and the command line on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from redheart.cli.main import main
from redheart.messages import set_language
from tests.old_runs import make

FIXTURES = Path(make.__file__).parent / "4238d59"


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def kept_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make.unpack(FIXTURES, tmp_path_factory.mktemp("kept") / "runs")


@pytest.fixture
def runs(kept_runs: Path, tmp_path: Path) -> Path:
    """``training``, finished, with all that is made of it, and ``interrupted``, stopped in its second epoch; to be written into."""
    for name in ("training", "interrupted"):
        shutil.copytree(kept_runs / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def redheart(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Said]]:
    """The command line, in English unless ``--lang`` is among the words."""

    def run(*words: object) -> Said:
        capsys.readouterr()
        typed = [str(word) for word in words]
        try:
            code = main([*typed, *([] if "--lang" in typed else ["--lang", "en"])])
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            code = ended.code
        return Said(code, *capsys.readouterr())

    yield run
    set_language("ko")


def flip(path: Path, place: int = -3) -> None:
    """Changes one byte of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0x55
    path.write_bytes(content)
