"""The paths of an output folder: each name is written once, and a run's own are told from what runs share."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from redheart.paths import OutputPaths

PACKAGE = Path(__file__).parents[1] / "redheart"


def _names() -> set[str]:
    return {place.name for place in OutputPaths.declared()}


def _literals(tree: ast.AST, names: set[str]) -> Iterator[tuple[int, str]]:
    """Where a declared name is written out as a path: joined to another, given a name of its own, or unmistakable."""
    for node in ast.walk(tree):
        value: ast.expr | None = None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            value = node.right
        elif isinstance(node, ast.Assign):
            value = node.value
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and {".", "_"} & set(node.value):
            value = node
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            first, *_ = parts = value.value.split("/")
            if first in names or parts[-1] in names:
                yield value.lineno, value.value


def test_each_name_under_the_output_root_is_written_once_in_the_package() -> None:
    names = _names()
    written = [
        f"{path.relative_to(PACKAGE)}:{line}: {literal!r}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "paths.py" or path.parent != PACKAGE
        for line, literal in _literals(ast.parse(path.read_text(encoding="utf-8")), names)
    ]
    assert not written, "take it from redheart.paths.OutputPaths: " + ", ".join(written)


def test_a_name_is_declared_once_and_what_lies_in_a_folder_has_its_owner() -> None:
    declared = OutputPaths.declared()
    assert len({place.relative for place in declared}) == len(declared)
    tops = {place.relative for place in declared if place.owner is not None}
    for place in declared:
        assert (place.owner is None) == ("/" in place.relative)
        assert place.relative.partition("/")[0] in tops


def test_a_place_of_the_class_is_a_path_of_an_instance(tmp_path: Path) -> None:
    assert OutputPaths.candidates.relative == "crossover/candidates.json"
    assert OutputPaths.candidates.name == "candidates.json"
    assert OutputPaths(tmp_path).candidates == tmp_path / "crossover" / "candidates.json"
    assert OutputPaths(str(tmp_path)).metrics == tmp_path / "metrics.jsonl"


def test_what_nothing_declares_is_told(tmp_path: Path) -> None:
    for name in ("metrics.jsonl", "best_model", "notes.txt"):
        (tmp_path / name).touch()
    assert OutputPaths(tmp_path).undeclared() == ["notes.txt"]


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "checkpoints", "best_model", "report", "evaluation"])
def test_a_run_takes_its_own_with_it(tmp_path: Path, name: str) -> None:
    assert tmp_path / name in OutputPaths(tmp_path).of_a_run()


@pytest.mark.parametrize(
    "name", ["lr_sweep_results", "ablation", "embeddings", "previous", "redheart.log", "config.yaml"]
)
def test_what_runs_share_stays(tmp_path: Path, name: str) -> None:
    paths = OutputPaths(tmp_path)
    assert tmp_path / name not in paths.of_a_run() and name in {place.relative for place in paths.declared()}
