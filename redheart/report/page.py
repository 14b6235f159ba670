"""The report's page: facts and plots in one HTML file that loads nothing from the network."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from redheart.config import Config
from redheart.crossover.decision import share_of_resamples
from redheart.embedding.language.stored import sentence
from redheart.errors import Interrupted, StorageError
from redheart.messages import debug, info, language, text
from redheart.paths import OutputPaths
from redheart.report.curves import export_curves
from redheart.report.drawings import interval_bar, sparkline
from redheart.report.facts import BaselineFacts, Missing, ReportFacts, ResultFacts
from redheart.report.gather import gather_facts
from redheart.storage import write_json, write_text
from redheart.tasks import MODULES
from redheart.training.records import read_records

_TEMPLATE = "report.html.jinja"
_PNG = b"\x89PNG\r\n\x1a\n"


def build_report(config: Config, output: Path, *, should_stop: Callable[[], bool] = lambda: False) -> Path:
    """Writes the curves, ``report/report.json`` and ``report/report.html`` from what is under ``output``.

    Stages that did not run are said to be missing; nothing has to be there.

    Args:
        should_stop: asked before the curves, the facts and the page; every file is written whole or not at all.

    Returns:
        the path of the HTML file.

    Raises:
        Interrupted: ``should_stop`` said so; an earlier report is intact.
        StorageError: a file could not be written; an earlier report is intact.
    """
    paths = OutputPaths(output)
    _stop_if(should_stop)
    if _has_epochs(paths.metrics):
        export_curves(output)
    _stop_if(should_stop)
    facts = gather_facts(config, output)
    _stop_if(should_stop)
    page = render(facts, output)
    _stop_if(should_stop)
    write_json(paths.report_facts, facts)
    path = paths.report_page
    write_text(path, page)
    info("report.saved", path=path)
    return path


def _stop_if(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Interrupted("the report was stopped, and an earlier one is intact; the same command writes it")


def _has_epochs(metrics: Path) -> bool:
    try:
        return metrics.exists() and bool(read_records(metrics).epochs)
    except StorageError as error:
        debug(f"no curves: {error}")  # the page says what is wrong with the file
        return False


def render(facts: ReportFacts, output: Path) -> str:
    """The page in the language of this process."""
    environment = Environment(
        loader=PackageLoader("redheart", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "fixed": _fixed, "signed": _signed, "percent": _percent, "size": _size}
    environment.globals |= {
        "t": text,
        "sparkline": sparkline,
        "interval_bar": interval_bar,
        "share": share_of_resamples,
        "unread": sentence,
    }
    return environment.get_template(_TEMPLATE).render(
        facts=facts,
        language=language(),
        pictures=_pictures(output),
        skill_scale=_skill_scale(facts.result),
        difference_scale=_difference_scale(facts.result),
        baseline_scale=_baseline_scale(facts.baseline),
    )


def _pictures(output: Path) -> dict[str, list[tuple[str, str]]]:
    """Name and data URI of the PNGs of each section, in a fixed order."""
    paths = OutputPaths(output)
    stages = sorted(
        paths.sweep.glob("hierarchical_lr_sweep_stage*.png"),
        key=lambda path: int("".join(re.findall(r"\d+", path.stem)) or 0),
    )
    order = {name: position for position, name in enumerate(("overview", *MODULES))}
    spots = sorted(paths.sweet_spots.glob("*.png"), key=lambda path: (order.get(path.stem, len(order)), path.stem))
    return {
        "sweep": _embedded([paths.sweep / "hierarchical_lr_sweep.png", *stages]),
        "curves": _embedded([paths.curves_picture]),
        "sweet_spots": _embedded(spots),
    }


def _embedded(paths: Iterable[Path]) -> list[tuple[str, str]]:
    found = []
    for path in paths:
        if not path.is_file():
            continue
        content = path.read_bytes()
        if content.startswith(_PNG):
            found.append((path.stem, f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"))
        else:
            debug(f"{path}: not a PNG, left out of the report")
    return found


def _skill_scale(result: ResultFacts | Missing) -> tuple[float, float]:
    """A common scale for all skills, from a little below 0 (at most −1) to a round number above the highest."""
    rows = result.tasks if isinstance(result, ResultFacts) else []
    skills = [skill for row in rows for skill in (row.judge, row.test) if skill is not None]
    bounds = [end for skill in skills for end in (skill.skill, skill.low, skill.high) if end is not None]
    lowest, highest = min(bounds, default=0.0), max(bounds, default=1.0)
    return max(-1.0, min(-0.1, lowest - 0.05)), min(1.0, max(0.3, highest + 0.05))


def _difference_scale(result: ResultFacts | Missing) -> tuple[float, float]:
    """A scale around 0 that holds the contenders' intervals; random controls may leave it."""
    candidates = result.candidates if isinstance(result, ResultFacts) else []
    scores = [score for candidate in candidates if not candidate.is_control for score in candidate.scores.values()]
    differences = [score.difference for score in scores if score.difference]
    return _around_zero([end for difference in differences for end in (difference.low, difference.high)])


def _baseline_scale(baseline: BaselineFacts | Missing) -> tuple[float, float]:
    """A scale around 0 that holds the intervals of the tasks' differences to the baseline on test."""
    tasks = baseline.splits["test"].tasks.values() if isinstance(baseline, BaselineFacts) else ()
    differences = [task.metrics["skill"].difference for task in tasks if "skill" in task.metrics]
    ends = [end for one in differences if one for end in (one.value, one.low, one.high)]
    return _around_zero([end for end in ends if end is not None])


def _around_zero(ends: list[float]) -> tuple[float, float]:
    reach = 1.05 * max((abs(end) for end in ends), default=0.0) or 1.0
    return -reach, reach


def _number(value: Any, digits: int = 4) -> str:
    """Four significant digits, or a dash where there is nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}g}"


def _fixed(value: float | None, digits: int = 4) -> str:
    """Decimals that line up in a column."""
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _size(value: float | None) -> str:
    if value is None:
        return "–"
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
