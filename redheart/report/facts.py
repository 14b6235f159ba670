"""Everything that the report says, gathered from the files that the stages left, as plain JSON-able values.

A stage that did not run, and a file that can't be read, are facts too: each part has a ``status`` of ``present``,
``absent`` or ``damaged``, and the page says so.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import psutil

import redheart
from redheart.baseline.sentences import about_baseline, standings
from redheart.checkpoint import START_EPOCH
from redheart.config import Config, resolved_yaml
from redheart.crossover import CrossoverResult, candidate_label, load_result
from redheart.crossover.beside_baseline import load_beside_baseline
from redheart.crossover.decision import explain
from redheart.data.locate import EMBEDDED_ENDING, bundled_sample
from redheart.data.reader import read_dataset
from redheart.errors import DataError, StorageError
from redheart.machine import inspect_machine
from redheart.paths import OutputPaths
from redheart.report.curves import read_curves
from redheart.storage import read_json
from redheart.sweet_spot import load_analysis
from redheart.sweet_spot.curves import read_history
from redheart.tasks import MODULE_TASK, MODULES, TASKS
from redheart.training.records import RunRecord, read_records
from redheart.training.run_folder import read_run

FORMAT = 1
#: Folders whose content is summed up in one line of the list of files: hundreds of files that nobody reads one by one.
SUMMED_FOLDERS = (
    *(place.relative for place in (OutputPaths.checkpoints, OutputPaths.best_model, OutputPaths.embeddings)),
    *(place.relative for place in (OutputPaths.previous, OutputPaths.tensorboard)),
    *(OutputPaths.sweep.within(name).relative for name in ("logs", "sweeps", "trials")),
)
_PACKAGES = ("torch", "accelerate", "deepspeed", "sentence-transformers", "safetensors", "numpy", "scipy", "matplotlib")

Facts = dict[str, Any]


def gather_facts(config: Config, output: Path) -> Facts:
    """All facts of the run in ``output``; reads, and writes nothing."""
    start, paths = _run_record(output), OutputPaths(output)
    run = _part(paths.run, lambda: _run(output))
    facts = {
        "format": FORMAT,
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "output": str(output.absolute()),
        "dry_run": start is not None and start.dry_run,
        "run": run | _recorded(start),
        "result": _part(paths.candidates, lambda: _result(load_result(output))),
        "rival": _part(paths.beside_baseline, lambda: _baseline(output)),
        "sweep": _part(paths.sweep, lambda: _sweep(paths)),
        "training": _part(paths.metrics, lambda: _training(output)),
        "modules": _part(paths.metrics, lambda: _modules(output)),
        "sweet_spots": _part(paths.analysis, lambda: _sweet_spots(output)),
        "data": _data(config, output, start),
        "oom": _part(paths.oom_stats, lambda: _oom(output)),
        "machine": _machine(output),
        "versions": _versions(),
        "config": _config_text(config, output),
        "files": _files(output),
    }
    return dict(finite(facts))


def finite(value: Any) -> Any:
    """``value`` with every NaN and infinity as None: JSON has neither."""
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _part(path: Path, gather: Callable[[], Facts]) -> Facts:
    if not path.exists():
        return {"status": "absent", "path": str(path)}
    try:
        return {"status": "present", **gather()}
    except StorageError as error:
        return {"status": "damaged", "path": str(path), "problem": str(error)}
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # well-formed JSON of another shape than ours
        return {"status": "damaged", "path": str(path), "problem": f"{path}: {type(error).__name__}: {error}"}


def _run_record(output: Path) -> RunRecord | None:
    try:
        return read_records(OutputPaths(output).metrics).run
    except StorageError:
        return None  # the part "training" reads the same file and says what is wrong with it


def _result(result: CrossoverResult) -> Facts:
    delivered = result[result.delivered]
    tasks = []
    for task in TASKS:
        row: Facts = {"task": task.name, "measure": task.skill}
        for split, score in delivered.scores.items():
            row[split] = msgspec.to_builtins(score.tasks[task.name]) | {
                "items": score.tasks[task.name].metrics.count or 0
            }
        tasks.append(row)
    better, controls = result.better_controls()
    return {
        "outcome": result.outcome,
        "winner": result.winner,
        "delivered": result.delivered,
        "delivered_label": candidate_label(result.delivered),
        "is_clear": result.is_clear,
        "sentences": explain(result),
        "confidence": result.confidence,
        "bootstrap_samples": result.bootstrap_samples,
        "comparisons": result.comparisons,
        "tasks": tasks,
        "candidates": [_candidate(result, position) for position in range(len(result.candidates))],
        "soup": msgspec.to_builtins(result.soup),
        "better_controls": better,
        "controls": controls,
    }


def _baseline(output: Path) -> Facts:
    """The delivered model beside the simple baseline; an earlier model's comparison says nothing about this one."""
    result = load_result(output)
    found = load_beside_baseline(output, result[result.delivered].identity)
    if found is None:
        return {"status": "absent"}
    return {
        "description": msgspec.to_builtins(found.baseline),
        "about": about_baseline(found.baseline),
        "sentences": {split: standings(comparison, split) for split, comparison in found.splits.items()},
        "splits": msgspec.to_builtins(found.splits),
    }


def _candidate(result: CrossoverResult, position: int) -> Facts:
    candidate = result.candidates[position]
    epochs = candidate.epochs
    same = len({tuple(chosen) for chosen in epochs.values()}) == 1
    scores: Facts = {}
    for split, score in candidate.scores.items():
        scores[split] = {
            "count": score.count,
            "loss": score.loss,
            "mean_skill": score.mean_skill,
            "difference": msgspec.to_builtins(score.difference),
            "skills": {name: skill.skill for name, skill in score.tasks.items()},
        }
    return {
        "name": candidate.name,
        "label": candidate_label(candidate.name),
        "identical_to": candidate_label(candidate.identical_to) if candidate.identical_to else None,
        "is_control": candidate.is_control,
        "is_delivered": candidate.name == result.delivered,
        "epochs": epochs["backbone"] if same else None,
        "epochs_by_module": epochs,
        "scores": scores,
    }


def _sweep(paths: OutputPaths) -> Facts:
    facts: Facts = {"chosen": None, "tested": None}
    if paths.optimal_lr.is_file():
        facts["chosen"] = dict(read_json(paths.optimal_lr))
    if paths.cumulative.is_file():
        cumulative = dict(read_json(paths.cumulative))
        facts["tested"] = len(cumulative)
    return facts


def _training(output: Path) -> Facts:
    curves = read_curves(OutputPaths(output).metrics)
    trained = sum(epoch != START_EPOCH for epoch in curves.epochs)
    return {"best_epoch": curves.best_epoch, "dry_run": curves.dry_run, "trained_epochs": trained, **curves.columns()}


def _modules(output: Path) -> Facts:
    history = read_history(OutputPaths(output).metrics)
    choices: Facts = {}
    if OutputPaths(output).analysis.is_file():
        choices = dict(load_analysis(output).choices or {})
    rows = []
    for module in MODULES:
        curve = history.curves[module]
        choice = choices.get(module)
        rows.append(
            {
                "module": module,
                "task": MODULE_TASK[module],
                "chosen_epoch": choice.epoch if choice else None,
                "confidence": choice.confidence if choice else None,
                "still_improving": choice.still_improving if choice else False,
                "reason": choice.reason if choice else None,
                "loss": curve.loss.tolist(),
                "skill": curve.skill.tolist(),
                "gradient": curve.gradient_mean.tolist(),
                "relative_update": curve.relative_update.tolist(),
                "dead_fraction": curve.dead_fraction.tolist(),
            }
        )
    return {"epochs": history.epochs.tolist(), "weights_changed": history.weights_changed, "rows": rows}


def _sweet_spots(output: Path) -> Facts:
    analysis = load_analysis(output)
    return {
        "explanation": str(analysis.explanation),
        "dry_run": analysis.dry_run,
        "weights_changed": analysis.weights_changed,
        "choices": {name: choice.epoch for name, choice in (analysis.choices or {}).items()},
        "settings": analysis.settings,
    }


def _run(output: Path) -> Facts:
    described = msgspec.to_builtins(read_run(output))
    return {name: value for name, value in described.items() if value is not None}


def _recorded(start: RunRecord | None) -> Facts:
    """What the first line of the records adds to ``run.json``."""
    names = ("preset", "parameters", "learning_rate", "world_size")
    return {name: value for name in names if (value := getattr(start, name, None)) is not None}


def _data(config: Config, output: Path, start: RunRecord | None) -> Facts:
    try:
        run = read_run(output)
    except StorageError:
        run = None  # the part "run" says what is wrong with it
    dataset = run.dataset if run else None
    counts = (run.counts if run else None) or (start.counts if start else None) or {}
    return {
        "dataset": dataset or config.data.path,
        "is_bundled_sample": _is_sample(dataset, counts),
        "counts": counts,
        "embedding_model": config.embedding.model,
    }


def _is_sample(dataset: str | None, counts: dict[str, int]) -> bool | None:
    """Whether the embedded dataset holds the bundled sample; None where it is not known which dataset it was."""
    sample = bundled_sample()
    if dataset is None or not sample.exists():
        return None
    path = Path(dataset)
    if path.name != f"{sample.stem}{EMBEDDED_ENDING}" and path.name != sample.name:
        return False
    try:
        own = {situation.id for situation in read_dataset(sample)}
        if sum(counts.values()) != len(own):  # the cheap question first: another file of this name may be large
            return False
        return own == {situation.id for situation in read_dataset(path)}
    except DataError:
        return None


def _oom(output: Path) -> Facts:
    return dict(read_json(OutputPaths(output).oom_stats))


def _machine(output: Path) -> Facts:
    machine = inspect_machine(output)
    return {
        "system": f"{platform.system()} ({platform.machine()})",  # no release: it names one machine's kernel build
        "cpu": _processor(),
        "python": platform.python_version(),
        "cores": machine.cores,
        "host_bytes": machine.host_bytes,
        "memory_bytes": psutil.virtual_memory().total,
        "disk_bytes": machine.disk_bytes,
        "gpus": [{"name": name, "total_bytes": total} for name, total, _ in machine.gpus],
    }


def _processor() -> str | None:
    """The model of the CPU as its maker calls it; None where the system doesn't say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next((name for name in named if name and name != "unknown"), platform.processor() or None)


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"redheart": redheart.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _config_text(config: Config, output: Path) -> str:
    """What the training resolved to, where there was one; else what was asked for now."""
    stored = OutputPaths(output).settings
    try:
        return stored.read_text(encoding="utf-8") if stored.is_file() else resolved_yaml(config)
    except (OSError, UnicodeDecodeError):
        return resolved_yaml(config)


def _files(output: Path) -> list[Facts]:
    """Files under ``output`` with their sizes; folders of many files as one line. The report itself is left out."""
    listed: list[Facts] = []
    sums: dict[str, list[int]] = {}
    for folder, folders, names in os.walk(output):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder) / name
            relative = path.relative_to(output).as_posix()
            if name.startswith(".") or relative.startswith(f"{OutputPaths.report.relative}/") or not path.is_file():
                continue
            summed = next((one for one in SUMMED_FOLDERS if relative.startswith(f"{one}/")), None)
            if summed is None:
                listed.append({"path": relative, "files": 1, "bytes": path.stat().st_size})
            else:
                sums.setdefault(summed, []).append(path.stat().st_size)
    listed += [{"path": f"{name}/", "files": len(sizes), "bytes": sum(sizes)} for name, sizes in sums.items()]
    return sorted(listed, key=lambda file: str(file["path"]))
