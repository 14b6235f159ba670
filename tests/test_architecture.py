"""The shape of the house: imports go one way, no file imports itself by way of others, no folder is too full to read."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

PROJECT = Path(__file__).parents[1]
MAX_FILES_IN_A_FOLDER = 15


def test_the_layers_are_kept() -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from importlinter.cli import lint_imports_command as c; sys.exit(c())",
    ]
    found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0 and "1 kept, 0 broken" in found.stdout, found.stdout + found.stderr


def test_no_file_imports_itself_by_way_of_others() -> None:
    """Imports within functions and those for type checking alone count as well: they tie files together all the same."""
    graph = grimp.build_graph("redheart", cache_dir=None)
    imports = {one: graph.find_modules_directly_imported_by(one) for one in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        raise AssertionError(" → ".join(reversed(error.args[1]))) from None


def test_no_folder_holds_more_files_than_one_takes_in() -> None:
    files = Counter(path.parent for path in (PROJECT / "redheart").rglob("*.py") if path.name != "__init__.py")
    fuller = {str(folder.relative_to(PROJECT)): n for folder, n in files.items() if n > MAX_FILES_IN_A_FOLDER}
    assert not fuller, f"more than {MAX_FILES_IN_A_FOLDER} files: {fuller}"
