"""Runs as text for people: a line for each of many, or one of them in full."""

from __future__ import annotations

from collections.abc import Sequence

from redheart.checkpoint import START_EPOCH
from redheart.facts.learning_rate import RateOrigin
from redheart.inspection.run_details import Details, Verdict, thinned
from redheart.inspection.run_settings import shown
from redheart.inspection.runs import Summary
from redheart.inspection.sizes import shown_size
from redheart.inspection.text_table import aligned, number, ranges, shown_time, skill, wrapped
from redheart.messages import text
from redheart.progress import duration

_COLUMNS = (
    "inspection.column_run",
    "inspection.column_preset",
    "inspection.column_epochs",
    "inspection.column_state",
    "inspection.column_loss",
    "inspection.column_test_skill",
    "inspection.column_size",
    "inspection.column_updated",
)
_CURVE = (
    "inspection.column_epoch",
    "inspection.column_train_loss",
    "inspection.column_loss",
    "inspection.column_skill",
    "inspection.column_rate",
    "inspection.column_seconds",
)
#: Rows of a curve in short, and letters of a value.
_MOST_ROWS, _MOST_LETTERS = 12, 40
_INDENT = "  "


def list_of(runs: Sequence[Summary]) -> str:
    """A line for each run, and below them what is damaged."""
    rows = [[text(key) for key in _COLUMNS], *(_row(one) for one in runs)]
    lines = aligned(rows, right=(2, 4, 5, 6))
    lines += ["", text("inspection.runs_legend", count=len(runs))]
    return "\n".join([*lines, *_faults([fault for one in runs for fault in one.faults])])


def _faults(faults: Sequence[str]) -> list[str]:
    return [text("inspection.fault", fault=fault) for fault in faults]


def state_of(one: Summary) -> str:
    """Whether it is whole, as a word."""
    if one.faults:
        return text("inspection.damaged")
    if one.dry_run:
        return text("inspection.dry_run")
    return text("inspection.finished" if one.finished else "inspection.unfinished")


def _of_all(one: Summary) -> str:
    return f"{one.epochs_done}/{'–' if one.epochs is None else one.epochs}"


def _row(one: Summary) -> list[str]:
    loss, size = number(one.loss), shown_size(one.bytes)
    cells = [one.path, one.preset or "–", _of_all(one), state_of(one), loss, skill(one.test_skill), size]
    return [*cells, shown_time(one.updated)]


def one_of(run: Details) -> str:
    """Everything of a run that is told, in paragraphs; what there is nothing of is left out."""
    paragraphs = [
        [run.summary.path, *aligned(_facts(run), indent=_INDENT)],
        _settings(run),
        _curve(run),
        _chosen(run),
        _verdict(run.verdict),
        _evaluations(run),
        [text("inspection.files"), *aligned(_files(run), right=(1,), indent=_INDENT)],
        _faults(run.summary.faults),
    ]
    return "\n\n".join("\n".join(lines) for lines in paragraphs if lines)


def _facts(run: Details) -> list[list[str]]:
    """What is one line each, with its name."""
    one, counts = run.summary, ", ".join(f"{split} {count}" for split, count in run.counts.items())
    rate = run.rate_origin
    found = {
        "inspection.fact_run": [one.run, state_of(one), f"{shown_time(one.updated)} UTC" if one.updated else None],
        "inspection.fact_epochs": [_of_all(one), _best(one)],
        "inspection.fact_model": [one.preset, _parameters(run)],
        "inspection.fact_data": [run.dataset],
        "inspection.fact_splits": [counts or None, run.dataset_identity],
        "inspection.fact_engine": [run.engine, _processes(run), run.device, _precision(run)],
        "inspection.fact_rate": [None if rate is None else _rate(rate)],
        "inspection.fact_time": [_time(run)],
    }
    told = {key: " · ".join(part for part in parts if part) for key, parts in found.items()}
    return [[text(key), line] for key, line in told.items() if line]


def _best(one: Summary) -> str | None:
    if one.best_epoch is None:
        return None
    if one.best_epoch == START_EPOCH:
        return text("inspection.best_is_start", loss=number(one.loss))
    return text("inspection.best", epoch=one.best_epoch, loss=number(one.loss))


def _parameters(run: Details) -> str | None:
    return None if run.parameters is None else text("inspection.parameters", count=f"{run.parameters:,}")


def _processes(run: Details) -> str | None:
    return None if run.world_size is None else text("inspection.processes", count=run.world_size)


def _precision(run: Details) -> str | None:
    return None if run.precision is None else text("inspection.precision", name=run.precision)


def _rate(origin: RateOrigin) -> str:
    """Where the learning rate is from, and what the sweep had otherwise."""
    kinds = {
        "given": "inspection.rate_given",
        "sweep": "inspection.rate_of_sweep",
        "default": "inspection.rate_default",
    }
    said = text(kinds[origin.kind])
    sweep = f" ({origin.sweep})" if origin.sweep else ""
    return f"{said}{sweep}" + "".join(f" · {one}" for one in origin.differs)


def _time(run: Details) -> str | None:
    if run.seconds is None or run.seconds_per_epoch is None:
        return None
    said = text("inspection.time", all=duration(run.seconds), epoch=f"{run.seconds_per_epoch:.1f}")
    saving = "" if run.save_seconds is None else text("inspection.time_of_save", seconds=f"{run.save_seconds:.1f}")
    return " · ".join(part for part in (said, saving) if part)


def _settings(run: Details) -> list[str]:
    if run.settings_from is None:
        return []
    if not run.settings:
        return [text("inspection.settings_default", file=run.settings_from)]
    head = [text("inspection.column_setting"), text("inspection.column_value"), text("inspection.column_default")]
    rows = [[one.name, cut(shown(one.value)), cut(shown(one.default))] for one in run.settings]
    return [text("inspection.settings", file=run.settings_from), *aligned([head, *rows], indent=_INDENT)]


def cut(value: str) -> str:
    """A value in a table's width; of a path the end tells more."""
    return value if len(value) <= _MOST_LETTERS else f"…{value[1 - _MOST_LETTERS :]}"


def _curve(run: Details) -> list[str]:
    if not run.epochs:
        return []
    best = run.summary.best_epoch
    rows = [[text(key) for key in _CURVE] + [""]]
    for one in thinned(run.epochs, _MOST_ROWS, best):
        rate = "–" if one.learning_rate is None else f"{one.learning_rate:.3g}"
        seconds = "–" if one.seconds is None else f"{one.seconds:.1f}"
        cells = [str(one.epoch), number(one.train_loss), number(one.loss), skill(one.mean_skill), rate, seconds]
        rows.append([*cells, text("inspection.the_best") if one.epoch == best else ""])
    return [text("inspection.curve", count=len(run.epochs)), *aligned(rows, right=range(6), indent=_INDENT)]


def _chosen(run: Details) -> list[str]:
    if run.chosen is None:
        return []
    by_epoch: dict[int, list[str]] = {}
    for module, epoch in run.chosen.items():
        by_epoch.setdefault(epoch, []).append(module)
    lines = [text("inspection.chosen")]
    for epoch, modules in sorted(by_epoch.items()):
        lines += wrapped(f"{epoch}: {', '.join(modules)}", _INDENT)
    return lines


def _verdict(verdict: Verdict | None) -> list[str]:
    if verdict is None:
        return []
    epochs = ranges({epoch for chosen in verdict.epochs.values() for epoch in chosen})
    lines = [text("inspection.verdict", name=verdict.delivered, epochs=epochs)]
    for sentence in verdict.sentences:
        lines += wrapped(sentence, _INDENT)
    tasks = list(next((scores.skills for scores in verdict.scores.values()), {}))
    head = [text("inspection.column_split"), text("inspection.column_count"), text("inspection.column_loss")]
    rows = [[*head, text("inspection.column_skill"), *(text(f"report.task_{task}") for task in tasks)]]
    for split, one in verdict.scores.items():
        skills = [skill(one.skills.get(task)) for task in tasks]
        rows.append([split, str(one.count), number(one.loss), skill(one.mean_skill), *skills])
    return [*lines, *aligned(rows, right=range(1, 4 + len(tasks)), indent=_INDENT)]


def _evaluations(run: Details) -> list[str]:
    if not run.evaluations:
        return []
    head = [text("inspection.column_file"), text("inspection.column_data"), text("inspection.column_count")]
    rows = [[*head, text("inspection.column_loss"), text("inspection.column_skill")]]
    for one in run.evaluations:
        rows.append([one.file, cut(one.data), str(one.count), number(one.loss), skill(one.mean_skill)])
    return [text("inspection.evaluations"), *aligned(rows, right=(2, 3, 4), indent=_INDENT)]


def _files(run: Details) -> list[list[str]]:
    return [[one.name, shown_size(one.bytes)] for one in run.files]
