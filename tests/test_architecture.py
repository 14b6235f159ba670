"""The shape of the house: imports go one way, no file imports itself by way of others, no folder or function is too full to read."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
from radon.complexity import cc_visit

PROJECT = Path(__file__).parents[1]
MAX_FILES_IN_A_FOLDER = 15
MAX_UNTYPED = 20
#: Files that may have values of any type under names (``dict[str, Any]`` and its like), and why.
UNTYPED = {
    "cli/options.py": "options as argparse has them, before the configuration checks them",
    "config/load.py": "settings as YAML has them, before they are checked",
    "data/json_stream.py": "a dataset's items as JSON, before they are checked",
    "data/schema.py": "what a dataset's item holds besides, handed through to the embedded file as it is",
    "health/gradient_check.py": "PyTorch's interface of a function mode",
    "messages/josa.py": "what a message is filled in with: anything that can be printed",
    "model/flops.py": "PyTorch's interface of a function mode",
    "model/meta_device.py": "PyTorch's interface of a function mode",
    "sweep/trials.py": "what an older version, or another program, wrote of a trial besides: kept as it is",
    "training/optimizer.py": "PyTorch's interface of an optimizer's groups",
    "training/schedule.py": "PyTorch's interface of an optimizer's groups",
}
#: McCabe's count of the ways through a function, as radon counts them.
MAX_COMPLEXITY = 15
#: What is more complex, and why it stays so for now. An entry goes with its reason.
COMPLEX = {
    "redheart/training/loop.py:TrainingLoop._step": "a step and everything that watches it: measuring is to part from stepping",
    "redheart/training/trainer.py:Trainer._train": "set-up, epochs and end in one: to part with callbacks",
    "redheart/training/trial.py:TrialRunner.run": "a trial and what may go wrong with it: to part with the trainer's loop",
    "benchmarks/model_quality.py:plan": "a benchmark's list of runs, by case",
    "benchmarks/model_quality.py:score": "a benchmark's tables, by case",
    "benchmarks/train_step_profile.py:profile_steps": "one measurement, top to bottom",
}


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


def test_what_files_and_stages_hand_over_is_typed_but_at_the_edges() -> None:
    found = Counter(
        str(path.relative_to(PROJECT / "redheart"))
        for path in (PROJECT / "redheart").rglob("*.py")
        for _ in re.findall(r"\[str, (?:Any|object)\]", path.read_text(encoding="utf-8"))
    )
    more = {name: count for name, count in found.items() if name not in UNTYPED}
    assert not more, f"give it a msgspec.Struct, or say in UNTYPED why not: {more}"
    assert sum(found.values()) <= MAX_UNTYPED, found
    assert not UNTYPED.keys() - found.keys(), f"typed by now: {UNTYPED.keys() - found.keys()}"


def _complexities() -> dict[str, int]:
    """Every function and method of the package and of the benchmarks, with what is nested in it."""
    found = {}
    for folder in ("redheart", "benchmarks"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            for block in cc_visit(path.read_text(encoding="utf-8")):
                if block.letter != "C":  # a class is the mean of its methods, which are here themselves
                    found[f"{path.relative_to(PROJECT)}:{block.fullname}"] = block.complexity
    return found


def test_no_function_is_too_complex() -> None:
    complexities = _complexities()
    too_complex = {name: count for name, count in complexities.items() if count > MAX_COMPLEXITY}
    new = {name: count for name, count in too_complex.items() if name not in COMPLEX}
    assert not new, f"more than {MAX_COMPLEXITY} ways through: {new}; cut them where their ideas part"
    assert sorted(COMPLEX.keys() - too_complex) == [], "no longer so complex, or gone: take them off the list"
    assert len(complexities) > 1000, "they were found"
