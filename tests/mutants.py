"""Faults planted one at a time, and the tests that find them: ``make mutants``, or ``python -m tests.mutants --count 100 --seed 0``.

Which changes of code there are is Cosmic Ray's to say. A sample of them is drawn, each is put into a copy of the project, and the tests
of the changed file's room run on it until one fails; what those let live is tried by the tests of the whole workflow. Tests that fail
without the fault too tell nothing and are left out. What survives is shown as a difference of lines, to be judged: some changes change
nothing that anybody could see.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast  # type: ignore[import-untyped]
from cosmic_ray.mutating import mutate_code  # type: ignore[import-untyped]
from cosmic_ray.plugins import get_operator, operator_names  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[1]
#: Changes that a hand could slip into. Cosmic Ray has more, such as a shift for a product, which any run of the line finds.
OPERATORS = (
    *("AddNot", "NumberReplacer", "RemoveDecorator", "ExceptionReplacer", "ZeroIterationForLoop"),
    *("ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak"),
    *(
        f"ReplaceBinaryOperator_{way}"
        for way in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Add", "Pow_Mul")
    ),
    *(f"ReplaceComparisonOperator_{way}" for way in ("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt")),
    *(
        f"ReplaceComparisonOperator_{way}"
        for way in ("Lt_GtE", "Gt_LtE", "Is_IsNot", "IsNot_Is", "In_NotIn", "NotIn_In")
    ),
    *("ReplaceUnaryOperator_USub_UAdd", "ReplaceUnaryOperator_Delete_Not"),
)
#: What has words for people, or tables of them: a change there is seen by reading.
WORDS = ("redheart/messages/", "redheart/config/document.py")
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".gpu", "*.egg-info", ".*_cache", "__pycache__")


@dataclass(frozen=True)
class Fault:
    """One change: ``occurrence`` is Cosmic Ray's number of the place in the file that ``operator`` can change."""

    file: str
    line: int
    operator: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.operator.removeprefix('core/')}"


@dataclass(frozen=True)
class Outcome:
    """Which tests found a fault; None: none did."""

    fault: Fault
    found_by: str | None
    seconds: float
    difference: str


def _places(operator: Any, tree: Any) -> list[int]:
    """The places of a file that an operator can change, by line, in Cosmic Ray's order."""
    return [start[0] for node in ast_nodes(tree) for start, _ in operator.mutation_positions(node)]


def _running_lines(source: str) -> set[int]:
    """Lines of code that runs: neither annotations nor text nor what only type checkers read."""
    tree = ast.parse(source)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        only_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if only_types or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            skipped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return set(range(1, source.count("\n") + 2)) - skipped


def draw(count: int, seed: int, paths: Sequence[str]) -> list[Fault]:
    """So many faults, at most one a line: a file by chance, the longer the likelier, then what to change, then where."""
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "redheart").rglob("*.py"))
    sources = {
        file: (ROOT / file).read_text(encoding="utf-8")
        for file in files
        if file.startswith(tuple(paths)) and not file.startswith(WORDS)
    }
    operators = [f"core/{name}" for name in OPERATORS if f"core/{name}" in set(operator_names())]
    chance = random.Random(seed)
    found: dict[tuple[str, int], Fault] = {}
    for file in chance.choices(list(sources), [source.count("\n") + 1 for source in sources.values()], k=20 * count):
        fault = _any_fault(file, sources[file], operators, chance)
        if fault is not None:
            found.setdefault((file, fault.line), fault)
        if len(found) == count:
            break
    return list(found.values())


def _any_fault(file: str, source: str, operators: Sequence[str], chance: random.Random) -> Fault | None:
    """A fault that can be planted in a file; None where nothing of it can be changed."""
    running = _running_lines(source)
    tree = get_ast(source)
    for name in chance.sample(operators, len(operators)):
        places = [(line, number) for number, line in enumerate(_places(get_operator(name)(), tree)) if line in running]
        if places:
            line, number = chance.choice(places)
            return (
                Fault(file, line, name, number) if _can_run(mutate_code(source, get_operator(name)(), number)) else None
            )
    return None


def _can_run(source: str | None) -> bool:
    """Whether a changed file can be imported as far as its syntax goes: a star among parameters is no product."""
    try:
        compile(source or "", "changed", "exec")
    except SyntaxError:
        return False
    return source is not None


def tests_of(file: str) -> list[list[str]]:
    """The tests to try on a change of ``file``, in order: those of its room, then those of the workflow."""
    room = Path("tests", *Path(file).parts[1:-1])
    while not (ROOT / room).is_dir():
        room = room.parent
    of_file = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / room).rglob(f"test_*{Path(file).stem}*.py"))
    near = (
        [room.as_posix()]
        if room != Path("tests")
        else sorted(f"tests/{path.name}" for path in (ROOT / "tests").glob("test_*.py"))
    )
    return [step for step in (of_file, near, ["tests/integration/test_workflow.py"]) if step]


def try_fault(fault: Fault, project: Path, limit: float) -> Outcome:
    """Plants a fault in a copy of the project, runs its tests, and takes the fault out again."""
    path = project / fault.file
    before = path.read_text(encoding="utf-8")
    began = time.monotonic()
    after = mutate_code(before, get_operator(fault.operator)(), fault.occurrence)
    assert after is not None and after != before, fault
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), fault.file, fault.file, n=1, lineterm="")
    difference = "\n".join(list(lines)[2:])
    path.write_text(after, encoding="utf-8")
    try:
        steps = (step for step in tests_of(fault.file) if tuple(step) not in _FAILED)
        found = next((step for step in steps if _fails(step, project, limit)), None)
    finally:
        path.write_text(before, encoding="utf-8")
    if found is not None and not _passes_without(tuple(found), project, limit):
        return try_fault(fault, project, limit)  # by the other steps
    return Outcome(fault, None if found is None else " ".join(found)[:80], time.monotonic() - began, difference)


#: Steps of tests that were seen to pass, or not to, on the project as it is.
_PASSED: set[tuple[str, ...]] = set()
_FAILED: set[tuple[str, ...]] = set()


def _passes_without(step: tuple[str, ...], project: Path, limit: float) -> bool:
    """Whether the tests that found a fault pass, in time, where there is none: tried once for each step."""
    if step not in _PASSED | _FAILED:
        fails = _fails(step, project, limit)
        (_FAILED if fails else _PASSED).add(step)
        if fails:
            print(f"left out, because it fails without a fault too: {' '.join(step)}", flush=True)
    return step in _PASSED


def _fails(tests: Sequence[str], project: Path, limit: float) -> bool:
    """Whether one of the tests fails, or they do not end."""
    environment = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(words, cwd=project, env=environment, capture_output=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode not in (0, 5)  # 5: no tests there


def main(argv: Sequence[str] | None = None) -> int:
    """Plants faults and prints who found them; 1 where fewer than ``--least`` of a hundred were found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "paths", nargs="*", default=["redheart/"], help="beginnings of the files' names (default: redheart/)"
    )
    parser.add_argument("--count", type=int, default=100, help="faults to plant (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, help="at a time (default: 2)")
    parser.add_argument(
        "--limit", type=float, default=900.0, help="seconds that one step of tests may take (default: 900)"
    )
    parser.add_argument("--least", type=float, default=90.0, help="of a hundred that have to be found (default: 90)")
    chosen = parser.parse_args(argv)
    faults = draw(chosen.count, chosen.seed, chosen.paths)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(chosen.jobs) as pool:
        copies: Queue[Path] = Queue()
        for number in range(chosen.jobs):
            copies.put(Path(shutil.copytree(ROOT, Path(folder, str(number)), ignore=NOT_COPIED)))

        def one(fault: Fault) -> Outcome:
            project = copies.get()
            try:
                return try_fault(fault, project, chosen.limit)
            finally:
                copies.put(project)

        for outcome in pool.map(one, faults):
            outcomes.append(outcome)
            said = f"found by {outcome.found_by}" if outcome.found_by else f"SURVIVED\n{outcome.difference}"
            print(f"{len(outcomes):>4}/{len(faults)} {outcome.seconds:>5.0f} s  {outcome.fault}: {said}", flush=True)
    found = sum(outcome.found_by is not None for outcome in outcomes)
    share = 100 * found / max(1, len(outcomes))
    print(f"{found} of {len(outcomes)} faults were found ({share:.0f} %)")
    for outcome in outcomes:
        if outcome.found_by is None:
            print(f"survived: {outcome.fault}")
    return int(share < chosen.least)


if __name__ == "__main__":
    sys.exit(main())
