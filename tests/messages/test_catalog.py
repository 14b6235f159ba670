"""One catalogue, two languages: the lines that people search for, the same placeholders, no key too many or too few."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

import pytest

from redheart.baseline import comparison
from redheart.baseline.features import BLOCKS
from redheart.crossover import decision
from redheart.crossover.result import Outcome
from redheart.data.splits import SPLITS
from redheart.facts.launches import Cause
from redheart.messages import language, set_language, text
from redheart.messages.catalog import catalogue
from redheart.sweet_spot import TECHNIQUES
from redheart.tasks import TASKS

PACKAGE = Path(__file__).parents[2] / "redheart"
MESSAGES = catalogue()
#: What the log is searched for with grep; ``{}`` is a value.
SEARCHED_FOR = (
    "📊 임베딩 상태:",
    "✅ 임베딩이 저장되었습니다",
    "📂 기존 LR 테스트 결과 로드: {} 개 LR 기록",
    "⚠️ LR {} 이미 테스트됨. {}로 조정",
    "💾 누적 결과 저장 완료: {} 개 LR",
    "✅ 목표 파라미터 수 달성: {}M ≈ 730M",
    "⚠️ 파라미터 개수 불일치!",
    "✅ 파라미터 업데이트됨",
    "💾 체크포인트 저장: {}",
)


@pytest.fixture(autouse=True)
def same_language_after() -> Iterator[None]:
    before = language()
    yield
    set_language(before)


def _placeholders(message: str) -> list[tuple[str, str, str]]:
    return sorted(
        (name, specification or "", conversion or "")
        for _, name, specification, conversion in string.Formatter().parse(message)
        if name is not None
    )


def _without_values(message: str) -> str:
    return "".join(
        literal + ("{}" if name is not None else "") for literal, name, *_ in string.Formatter().parse(message)
    )


@pytest.mark.parametrize("line", SEARCHED_FOR)
def test_a_line_that_people_search_for_is_in_the_korean_catalogue_as_it_stands(line: str) -> None:
    assert any(_without_values(korean).startswith(line) for korean, _ in MESSAGES.values())


@pytest.mark.parametrize(
    ("key", "values", "line"),
    [
        ("sweep.loaded", {"count": 25}, "📂 기존 LR 테스트 결과 로드: 25 개 LR 기록"),
        ("sweep.adjusted", {"wanted": "5.6e-05", "chosen": "6.2e-05"}, "⚠️ LR 5.6e-05 이미 테스트됨. 6.2e-05로 조정"),
        ("sweep.saved", {"count": 26}, "💾 누적 결과 저장 완료: 26 개 LR"),
        ("workflow.parameters_ok", {"actual": 730.5}, "✅ 목표 파라미터 수 달성: 730.5M ≈ 730M"),
        ("training.checkpoint", {"path": "a/epoch_0001"}, "💾 체크포인트 저장: a/epoch_0001"),
    ],
)
def test_a_line_that_people_search_for_is_said_in_korean_by_default(
    key: str, values: dict[str, object], line: str
) -> None:
    set_language("ko")
    assert text(key, **values) == line


def test_the_line_of_a_wrong_parameter_count_holds_target_actual_and_difference() -> None:
    set_language("ko")
    line = text("workflow.parameters_off", target=730, actual=500.0, difference=-230.0)
    assert line == "⚠️ 파라미터 개수 불일치! 목표 730M, 실제 500.0M, 차이 -230.0M"


@pytest.mark.parametrize("key", sorted(MESSAGES))
def test_a_message_has_both_languages_with_the_same_values(key: str) -> None:
    korean, english = MESSAGES[key]
    assert korean.strip() and english.strip()
    assert _placeholders(korean) == _placeholders(english)
    assert all(name.isidentifier() for name, *_ in _placeholders(korean)), "values are given by name"


def test_english_holds_no_korean() -> None:
    assert [key for key, (_, english) in MESSAGES.items() if any("가" <= letter <= "힣" for letter in english)] == []


def test_the_language_can_be_chosen_and_another_is_refused() -> None:
    set_language("en")
    assert text("embedding.saved") == "✅ Embeddings saved"
    with pytest.raises(ValueError, match="wanted 'ko' or 'en'"):
        set_language("fr")  # type: ignore[arg-type]


def test_an_unknown_message_or_a_missing_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        text("no_such_message")
    with pytest.raises(KeyError, match="count"):
        text("sweep.loaded")


# ------------------------------------------------------------------ what the code uses


def _trees() -> list[tuple[Path, ast.Module]]:
    return [
        (path, ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(PACKAGE.rglob("*.py"))
        if "messages" not in path.relative_to(PACKAGE).parts
    ]


TREES = _trees()


def _calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of what says a message, with its place."""
    for path, tree in TREES:
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("info", "warn", "warn_even_if_quiet", "text")
            ):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def _patterns(key: ast.expr) -> list[str]:
    """The keys that an expression can mean; ``*`` stands for what is filled in at run time."""
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        return [key.value]
    if isinstance(key, ast.IfExp):
        return _patterns(key.body) + _patterns(key.orelse)
    if isinstance(key, ast.JoinedStr):
        return ["".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in key.values)]
    return []


def test_every_message_that_the_code_says_is_in_the_catalogue() -> None:
    unknown = [
        f"{place}: {pattern}"
        for place, call in _calls()
        if call.args
        for pattern in _patterns(call.args[0])
        if not any(fnmatchcase(key, pattern) for key in MESSAGES)
    ]
    for template in PACKAGE.rglob("*.jinja"):
        keys = re.findall(r'\bt\("([a-z_.]+)"\s*[,)]', template.read_text(encoding="utf-8"))
        unknown += [f"{template.name}: {key}" for key in keys if key not in MESSAGES]
    assert unknown == []


def test_every_message_gets_the_values_that_it_wants() -> None:
    wrong = []
    for place, call in _calls():
        given = {keyword.arg for keyword in call.keywords}
        if None in given or not call.args:  # **values: known at run time only
            continue
        for key in _patterns(call.args[0]):  # a composed key's values differ from message to message
            wanted = {name for name, *_ in _placeholders(MESSAGES[key][0])} if key in MESSAGES else given
            if wanted != given:
                wrong.append(f"{place}: {key} wants {sorted(wanted)}, is given {sorted(map(str, given))}")
    assert wrong == []


#: Keys that are put together at run time: what they begin with, and what follows.
COMPOSED: dict[str, Collection[str]] = {
    "report.cause_": get_args(Cause),
    "workflow.stage_": ("embed", "sweep", "model", "train", "analyze", "crossover", "report"),
    "sweet_spot.report.column.": ("module", "epoch", "confidence", *TECHNIQUES[:-1], "note"),
    "sweet_spot.report.name.": TECHNIQUES,
    "sweet_spot.report.method.": TECHNIQUES,
    "baseline.": get_args(comparison.Standing),
    "baseline.feature_": BLOCKS,
    "crossover.outcome_": get_args(Outcome),
    "crossover.name_": ("last", "start", "best_epoch", "average", "soup", "crossover"),
    "crossover.test_": get_args(decision.Standing),
    "crossover.training_": get_args(decision.Standing),
    "crossover.itself_": get_args(decision.Standing),
    "report.absent_": ("crossover", "sweep", "training", "spots", "oom", "baseline"),
    "report.badge_": ("none", "clear", "unclear"),
    "report.task_": [task.name for task in TASKS],
    "report.measure_": {task.skill for task in TASKS},
    "report.split_": SPLITS,
}


def _mentioned() -> set[str]:
    """What stands between quotes anywhere in the code or in a template: keys, and what composed ones begin with."""
    found = set()
    for _, tree in TREES:
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant | ast.JoinedStr):
                found |= {pattern.removesuffix("*") for pattern in _patterns(node)}
    for template in PACKAGE.rglob("*.jinja"):
        found |= set(re.findall(r'"([a-z]+[_.][a-z_.]+)"', template.read_text(encoding="utf-8")))
    return found | {f"{start}_" for start in found}  # as in f"{key}_{side}"


def test_no_message_is_unused() -> None:
    composed = {start + end for start, ends in COMPOSED.items() for end in ends}
    assert sorted(MESSAGES.keys() - _mentioned() - composed) == []


def test_composed_keys_are_in_the_catalogue_and_still_composed() -> None:
    mentioned = _mentioned()
    assert [start for start in COMPOSED if start not in mentioned] == []
    assert [start + end for start, ends in COMPOSED.items() for end in ends if start + end not in MESSAGES] == []
