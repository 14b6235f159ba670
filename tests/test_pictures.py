"""Pictures are the same whatever matplotlib's environment says, and leave it as it was."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DRAW = """
import os, sys
before = dict(os.environ)
from pathlib import Path
from redheart.pictures import Figure, own_settings
with own_settings():
    figure = Figure(layout="constrained")
    figure.subplots().plot([0.5, 1.5], [1e-3, 2e-3], label="a")
    figure.suptitle("title")
    figure.savefig(sys.argv[1], format="png")
assert dict(os.environ) == before
"""


def _drawn(folder: Path, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MPL", "MATPLOTLIB"))}
    subprocess.run(
        [sys.executable, "-c", DRAW, str(folder / "picture.png")],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        check=True,
    )
    return hashlib.sha256((folder / "picture.png").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _drawn(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "tkagg", "nonsense", ""])
def test_a_backend_that_is_inherited_changes_nothing(tmp_path: Path, undisturbed: str, backend: str) -> None:
    assert _drawn(tmp_path, MPLBACKEND=backend) == undisturbed


@pytest.mark.parametrize(
    "content",
    [
        b"text.usetex: True\n",
        b"backend: nonsense\nfont.family: Nonexistent\nlines.linewidth: 9\nsavefig.dpi: 17\naxes.formatter.use_locale: True\n",
        b"caf\xe9: 1\n",
    ],
    ids=["tex", "others", "latin"],
)
def test_a_matplotlibrc_changes_nothing(tmp_path: Path, undisturbed: str, content: bytes) -> None:
    (tmp_path / "matplotlibrc").write_bytes(content)
    assert _drawn(tmp_path) == undisturbed
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert _drawn(elsewhere, MATPLOTLIBRC=str(tmp_path / "matplotlibrc")) == undisturbed


def test_matplotlib_is_had_by_way_of_pictures_alone() -> None:
    found = []
    for path in sorted((ROOT / "redheart").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [path.name for name in names if name.partition(".")[0] == "matplotlib"]
    assert set(found) == {"pictures.py"}
