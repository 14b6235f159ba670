"""The model against a constant and against its simple baseline, on held-out data: ``python -m benchmarks.model_quality``.

The baseline is linear: ridge regression for each number, logistic regression for each distribution, on the encoder's vectors of title,
action, whole text and the mean of the windows, with penalties chosen by cross-validation on what it is fitted to.

Two more say where a lead comes from: the baseline with title and action at half the size, as the model has them, and the model
untrained, as its closed-form start leaves it.

- *annotated*: 5-fold cross-validation over ids of fully annotated situations, 3 seeds per fold. The epoch is chosen on a part of
  the training folds, then the model is trained on all of them with the same schedule for as long.
- *curve*: the same with 25, 50 and 100 % of the training folds.
- *votes*: situations with votes alone, one division into trained and tested, 5 seeds.
- *both*: trained on the annotated training folds and the voted ones together, tested on either.

Without ``--data`` the bundled sample is used, which is far too small to say much. Finished runs are kept in ``--work``, so the
command goes on where it was stopped. The result goes to ``benchmarks/results/model_quality.json``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import platform
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.quality_runs import FOLDS, Run, Source, carry_out, divide, is_done
from benchmarks.quality_scores import ANNOTATED, VOTES, Predictions, Truth, compare
from redheart.tasks import TASKS

RESULT = Path(__file__).parent / "results" / "model_quality.json"
BASES = ("constant", "baseline")
#: Beside them, where the model is scored in earnest: what of its lead is due to the sizes of its views, and to training.
EXPLAINING = ("weighted baseline", "untrained")
SECTIONS = ("annotated", "curve", "votes", "both")
FRACTIONS = (0.25, 0.5, 1.0)
TESTED_SHARE = 0.25


def plan(arguments: argparse.Namespace) -> dict[str, list[Run]]:
    """The runs of each section; a run that two sections need is the same run."""
    epochs, rate = arguments.epochs, arguments.learning_rate
    seeds, vote_seeds, folds = range(arguments.seeds), range(arguments.vote_seeds), range(arguments.folds)
    runs: dict[str, list[Run]] = defaultdict(list)
    runs["annotated"] = [Run("annotated", kind, fold, 0) for fold in range(FOLDS) for kind in (*BASES, *EXPLAINING)]
    runs["annotated"] += [
        Run("annotated", "tiny", fold, seed, 1.0, epochs, rate) for fold in range(FOLDS) for seed in seeds
    ]
    for fraction in FRACTIONS:
        runs["curve"] += [Run("annotated", kind, fold, 0, fraction) for fold in range(FOLDS) for kind in BASES]
        for preset, its_folds, its_epochs, its_rate in (
            ("tiny", range(FOLDS), epochs, rate),
            ("small", folds, arguments.small_epochs, arguments.small_rate),
        ):
            runs["curve"] += [Run("annotated", preset, fold, 0, fraction, its_epochs, its_rate) for fold in its_folds]
    if arguments.votes:
        runs["votes"] = [Run("votes", kind) for kind in (*BASES, *EXPLAINING)]
        runs["votes"] += [Run("votes", "tiny", 0, seed, 1.0, arguments.vote_epochs, rate) for seed in vote_seeds]
        runs["both"] = [Run("both", "tiny", fold, 0, 1.0, arguments.vote_epochs, rate) for fold in range(FOLDS)]
        explained = [*runs["annotated"], *runs["votes"]]
        runs["both"] += [
            run for run in explained if run.kind not in EXPLAINING and (run.seed == 0 or run.section == "votes")
        ]
    return {name: runs[name] for name in arguments.sections if runs[name]}


def do_all(source: Source, runs: list[Run], folder: Path, workers: int) -> None:
    """All runs that are not done, ``workers`` at a time, with progress."""
    todo = [run for run in dict.fromkeys(runs) if not is_done(source, run, folder)]
    if not todo:
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = {pool.submit(carry_out, source, run, folder): run for run in todo}
        for done in tqdm(as_completed(waiting), total=len(waiting), unit="run", desc="runs"):
            done.result()


def gathered(runs: list[Run], folder: Path, test: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """The predictions of runs of several folds, one after the other, by task, and the ids."""
    parts: dict[str, list[np.ndarray]] = defaultdict(list)
    ids: list[str] = []
    for run in runs:
        with np.load(folder / f"{run.name}.npz") as held:
            ids += held[f"{test}/ids"].tolist()
            for task in TASKS:
                if f"{test}/{task.name}" in held:  # a baseline has nothing to say of a task without targets
                    parts[task.name].append(held[f"{test}/{task.name}"].astype(np.float64))
    return {task: np.concatenate(values) for task, values in parts.items()}, ids


def of_folds(by_seed: list[list[Run]], folder: Path, test: str) -> tuple[Predictions, list[str]]:
    """Runs of one way of predicting, one list per seed, as predictions of all tested situations."""
    found = [gathered(runs, folder, test) for runs in by_seed]
    ids = found[0][1]
    if any(other != ids for _, other in found):
        raise AssertionError("seeds were tested on different situations")
    return Predictions({task: np.stack([said[task] for said, _ in found]) for task in found[0][0]}), ids


def truth_of(source: Source, section: str, ids: list[str], constant: Predictions) -> Truth:
    table = divide(source, Run(section, "constant")).table
    place = {name: index for index, name in enumerate(table.ids)}
    rows = np.array([place[name] for name in ids])
    targets = {name: values[rows].astype(np.float64) for name, values in table.targets.values.items()}
    masks = {name: known[rows] for name, known in table.targets.mask.items()}
    return Truth(targets, masks, {task: values[0] for task, values in constant.tasks.items()})


def score(source: Source, runs: dict[str, list[Run]], folder: Path) -> dict[str, Any]:
    """The tables of all sections whose runs are done."""
    tables: dict[str, Any] = {}
    for section, its_runs in runs.items():
        if section == "curve":
            for fraction in FRACTIONS:
                for preset in ("tiny", "small"):
                    part = [run for run in its_runs if run.fraction == fraction and run.kind in (preset, *BASES)]
                    folds = {run.fold for run in part if run.kind == preset}
                    if folds:
                        part = [run for run in part if run.fold in folds]
                        tables[f"curve {preset} {fraction:.0%}"] = _table(
                            source, part, folder, "annotated", {preset: preset}
                        )
        elif section == "annotated":
            tables[section] = _table(source, its_runs, folder, "annotated", {"tiny": "tiny"})
        elif section == "votes":
            tables[section] = _table(source, its_runs, folder, "votes", {"tiny": "tiny"})
        else:
            for test in ("annotated", "votes"):
                part = [run for run in its_runs if run.section in (test, "both")]
                tables[f"both, tested on {test}"] = _table(source, part, folder, test, {"tiny": "tiny alone"})
    return tables


def _table(source: Source, runs: list[Run], folder: Path, test: str, names: dict[str, str]) -> dict[str, Any]:
    ways: dict[str, dict[int, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in dict.fromkeys(runs):
        way = "tiny on both" if run.section == "both" else names.get(run.kind, run.kind)
        # Each fold of "both" is tested on the same votes: there, folds are repeats.
        seed = run.fold if run.section == "both" and test == "votes" else run.seed
        ways[way][seed].append(run)
    said: dict[str, Predictions] = {}
    ids: list[str] = []
    for way, seeds in ways.items():
        said[way], found = of_folds(list(seeds.values()), folder, test)
        if ids and found != ids:
            raise AssertionError(f"{way} was tested on other situations")
        ids = found
    truth = truth_of(source, test, ids, said["constant"])
    measures = VOTES if test == "votes" else ANNOTATED
    against = [way for way in ("constant", "baseline", *EXPLAINING, "tiny alone") if way in said]
    return {"situations": len(ids), "measures": compare(measures, said, truth, against)}


def show(tables: dict[str, Any]) -> str:
    """The tables as text: value with interval, and the paired difference from the baseline."""
    lines = []
    for section, table in tables.items():
        lines += [
            "",
            f"{section}: {table['situations']} tested situations (95 % intervals; better than the baseline: +)",
        ]
        for measure, ways in table["measures"].items():
            for way, row in ways.items():
                text = f"  {measure:<18}{way:<16}{row['value']:>8.4f}  ({row['low']:.4f} to {row['high']:.4f})"
                for other in ("baseline", *EXPLAINING, "tiny alone"):
                    if (difference := row.get(f"minus {other}")) is not None and way not in ("constant", "baseline"):
                        mark = {True: "+", False: "−", None: "="}[difference["better"]]
                        text += f"   − {other}: {difference['value']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f}) {mark}"
                lines.append(text)
    return "\n".join(lines)


def _embedded(dataset: Path, work: Path) -> Path:
    """The dataset with vectors, embedded under ``work`` unless it is embedded already."""
    from redheart.config import EmbeddingConfig
    from redheart.data.locate import is_bundled_sample
    from redheart.embedding import embed_dataset

    if dataset.name.endswith(".embedded.json"):
        return dataset
    own = work / "data" / dataset.name.removesuffix(".gz")
    if not own.exists() and not is_bundled_sample(dataset):
        own.parent.mkdir(parents=True, exist_ok=True)
        content = gzip.decompress(dataset.read_bytes()) if dataset.suffix == ".gz" else dataset.read_bytes()
        own.write_bytes(content)
    chosen = dataset if is_bundled_sample(dataset) else own
    return embed_dataset(chosen, EmbeddingConfig(), output_root=work).path


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.model_quality", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="annotated situations: .json, .jsonl or .embedded.json")
    parser.add_argument("--votes", type=Path, help="situations with votes: the same, or .jsonl.gz")
    parser.add_argument("--work", type=Path, default=Path("model_quality"), help="where finished runs are kept")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--vote-epochs", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--small-epochs", type=int, default=2, help="of the small preset, whose epochs take minutes")
    parser.add_argument("--small-rate", type=float, default=1e-4, help="learning rate of the small preset")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--vote-seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=FOLDS, help="folds of the small preset's curve")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1)))
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    arguments = parse(words)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if arguments.data is None:
        import redheart.data

        arguments.data = Path(redheart.data.__file__).parent / "sample" / "situations.json"
    arguments.work.mkdir(parents=True, exist_ok=True)
    data = _embedded(arguments.data, arguments.work)
    votes = _embedded(arguments.votes, arguments.work) if arguments.votes else None
    tested = 0
    if votes is not None:
        from redheart.embedding import open_embedded

        tested = round(TESTED_SHARE * len(open_embedded(votes)))
    source = Source(str(data), None if votes is None else str(votes), tested)
    runs = plan(arguments)
    folder = arguments.work / "runs"
    do_all(source, [run for its_runs in runs.values() for run in its_runs], folder, arguments.workers)
    tables = score(source, runs, folder)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("work", "result", "workers")}
    result = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {"system": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count()},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "scikit-learn", "sentence-transformers")},
        "settings": settings
        | {"data": arguments.data.name, "votes": arguments.votes.name if arguments.votes else None},
        "epochs_chosen": _epochs_chosen(runs, folder),
        "tables": tables,
    }
    arguments.result.parent.mkdir(parents=True, exist_ok=True)
    arguments.result.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(show(tables))
    print(f"\nstored in {arguments.result}")
    return 0


def _epochs_chosen(runs: dict[str, list[Run]], folder: Path) -> dict[str, int]:
    chosen: dict[str, int] = {}
    for run in (run for its_runs in runs.values() for run in its_runs if run.kind not in (*BASES, *EXPLAINING)):
        with np.load(folder / f"{run.name}.npz") as held:
            chosen[run.name] = json.loads(str(held["about"]))["epoch"]
    return chosen


if __name__ == "__main__":
    raise SystemExit(main())
