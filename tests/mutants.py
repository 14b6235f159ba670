"""Faults planted one at a time, and the tests that find them: ``make mutants``, or ``python -m tests.mutants --count 100 --seed 0``.

Which changes of code there are is Cosmic Ray's to say. A sample of them is drawn, each is put into a copy of the project, and the tests
that came to the changed line, as ``--reach`` noted them, run on it, the nearest and quickest first, until one fails; then the tests of
the file, and of the whole workflow, whose processes nobody watched. Tests that fail without the fault too tell nothing and are left
out. What survives is shown as a difference of lines, to be judged: some changes change nothing that anybody could see.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import random
import re
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
from xml.etree import ElementTree

from cosmic_ray.ast import ast_nodes, get_ast  # type: ignore[import-untyped]
from cosmic_ray.mutating import mutate_code  # type: ignore[import-untyped]
from cosmic_ray.plugins import get_operator, operator_names  # type: ignore[import-untyped]
from coverage import CoverageData

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
#: Files of tests to try on one line: what a file's tests share takes time that no test of it shows.
_FILES = 8
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".gpu", ".reach", "*.egg-info", ".*_cache", "__pycache__")


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


class Reach:
    """Which tests came to which lines, and how long they took: a run of all tests, kept in ``folder``.

    Args:
        seconds: of tests to try on one line.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self._data = CoverageData(str(folder / "reach.coverage"))
        self._data.read()
        self._seconds = seconds
        self._took: dict[str, float] = {}
        for case in ElementTree.parse(folder / "reach.xml").iter("testcase"):
            test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
            self._took[test] = float(case.get("time", 1.0))
        self._lines: dict[str, dict[int, list[str]]] = {
            file: self._data.contexts_by_lineno(file) for file in self._data.measured_files()
        }

    def tests_of(self, file: str, line: int) -> list[str]:
        """The tests that came to a line, those of its room before others, the quickest first, as many as there is time for."""
        room = f"{Path('tests', *Path(file).parts[1:-1]).as_posix()}/"

        lines = next((lines for name, lines in self._lines.items() if name.endswith(f"/{file}")), {})
        found: set[str] = set()
        for context in lines.get(line, ()):
            test, _, moment = context.rpartition("|")
            if moment == "run":
                found.add(test)
            elif test:  # a fixture came there: whatever is asserted of it may stand in any test of its file
                found |= {other for other in self._took if other.startswith(f"{test.partition('::')[0]}::")}
        by_file: dict[str, list[str]] = {}
        for test in sorted(found, key=self._seconds_of):
            if test.isprintable():
                by_file.setdefault(test.partition("::")[0], []).append(test)
        # File by file, since what a file's tests share is made for each turn of it.
        near = sorted(by_file, key=lambda name: (not name.startswith(room), self._seconds_of(by_file[name][0])))
        chosen, seconds = [], 0.0
        for number, name in enumerate(near):
            if chosen and (number >= _FILES or seconds > self._seconds):
                break
            for test in by_file[name]:
                seconds += self._seconds_of(test)
                if chosen and seconds > self._seconds:
                    break
                chosen.append(test)
        return chosen

    def _seconds_of(self, test: str) -> float:
        return self._took.get(test, 1.0)


def note_reach(folder: Path, jobs: int) -> int:
    """Runs all tests once and notes which lines each came to. Returns the exit code of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "coveragerc"
    settings.write_text(f"[run]\nsource = redheart\ndata_file = {folder / 'reach.coverage'}\n", encoding="utf-8")
    words = [sys.executable, "-m", "pytest", "-q", "--cov", f"--cov-config={settings}", "--cov-context=test"]
    words += ["--cov-report=", f"--junitxml={folder / 'reach.xml'}", "-n", str(jobs), "--dist=loadfile"]
    return subprocess.run(words, cwd=ROOT, check=False).returncode


def tests_of(fault: Fault, reach: Reach | None, *, is_quick: bool = False) -> list[list[str]]:
    """The tests to try on a fault, in order: those that come to its line, or its room's; those of its file; those of the workflow.

    Args:
        is_quick: without the last.
    """
    room = Path("tests", *Path(fault.file).parts[1:-1])
    while not (ROOT / room).is_dir():
        room = room.parent
    of_file = sorted(
        path.relative_to(ROOT).as_posix() for path in (ROOT / room).rglob(f"test_*{Path(fault.file).stem}*.py")
    )
    near = (
        [room.as_posix()]
        if room != Path("tests")
        else sorted(f"tests/{path.name}" for path in (ROOT / "tests").glob("test_*.py"))
    )
    reached = [] if reach is None else reach.tests_of(fault.file, fault.line)
    steps = (reached, of_file) if reached else (of_file, near)
    return [step for step in (*steps, [] if is_quick else ["tests/integration/test_workflow.py"]) if step]


def try_fault(fault: Fault, project: Path, limit: float, reach: Reach | None, *, is_quick: bool) -> Outcome:
    """Plants a fault in a copy of the project, runs its tests, and takes the fault out again."""
    path = project / fault.file
    before = path.read_text(encoding="utf-8")
    began = time.monotonic()
    after = mutate_code(before, get_operator(fault.operator)(), fault.occurrence)
    assert after is not None and after != before, fault
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), fault.file, fault.file, n=1, lineterm="")
    difference = "\n".join(list(lines)[2:])
    found = None
    for step in tests_of(fault, reach, is_quick=is_quick):
        while found is None:
            path.write_text(after, encoding="utf-8")
            try:
                failed = _failing(step, project, limit)
            finally:
                path.write_text(before, encoding="utf-8")
            if failed is None:
                break
            if _passes_without(failed, project, limit):
                found = failed
            elif failed == tuple(step):
                break
        if found is not None:
            break
    return Outcome(fault, None if found is None else " ".join(found)[:100], time.monotonic() - began, difference)


#: Tests that were seen to pass, or not to, on the project as it is.
_PASSED: set[tuple[str, ...]] = set()
_FAILED: set[tuple[str, ...]] = set()
_NAMED = re.compile(r"^(?:FAILED|ERROR) (\S+\.py::.*?)(?: - .*)?$", re.MULTILINE)


def _passes_without(tests: tuple[str, ...], project: Path, limit: float) -> bool:
    """Whether the tests that found a fault pass, in time, where there is none: tried once for each."""
    if tests not in _PASSED | _FAILED:
        fails = _failing(tests, project, limit) is not None
        (_FAILED if fails else _PASSED).add(tests)
        if fails:
            print(f"left out, because it fails without a fault too: {' '.join(tests)[:200]}", flush=True)
    return tests in _PASSED


def _failing(tests: Sequence[str], project: Path, limit: float) -> tuple[str, ...] | None:
    """The test that fails; all of them, where they can't be read or do not end; None where they pass. Without what is known to fail."""
    environment = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as names:
        names.write("\n".join(test for test in tests if (test,) not in _FAILED))
        names.flush()
        words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"@{names.name}"]
        words += [
            f"--deselect={one}" for known in sorted(_FAILED) if len(known) == 1 for one in known if one not in tests
        ]
        try:
            done = subprocess.run(
                words,
                cwd=project,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return tuple(tests)
    if done.returncode in (0, 5):  # 5: no tests there
        return None
    named = _NAMED.search(done.stdout)
    return (named[1],) if named else tuple(tests)


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
    parser.add_argument(
        "--seconds", type=float, default=240.0, help="of those that came to a line, tests to try (default: 240)"
    )
    parser.add_argument(
        "--reach", type=Path, help="folder with the lines that each test came to, noted there first where it is empty"
    )
    parser.add_argument("--least", type=float, default=90.0, help="of a hundred that have to be found (default: 90)")
    parser.add_argument("--quick", action="store_true", help="leave out the tests of the whole workflow")
    chosen = parser.parse_args(argv)
    faults = draw(chosen.count, chosen.seed, chosen.paths)
    reach = None
    if chosen.reach is not None:
        if not (chosen.reach / "reach.xml").is_file():
            note_reach(chosen.reach.resolve(), chosen.jobs)
        reach = Reach(chosen.reach, chosen.seconds)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(chosen.jobs) as pool:
        copies: Queue[Path] = Queue()
        for number in range(chosen.jobs):
            copies.put(Path(shutil.copytree(ROOT, Path(folder, str(number)), ignore=NOT_COPIED)))

        def one(fault: Fault) -> Outcome:
            project = copies.get()
            try:
                return try_fault(fault, project, chosen.limit, reach, is_quick=chosen.quick)
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
