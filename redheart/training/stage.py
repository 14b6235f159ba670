"""The stage ``train``: epochs with real validation, checkpoints, metrics and the update monitor; resumable at any step."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from tqdm import tqdm

from redheart.checkpoint import list_epochs, newest_resume_state, save_epoch, save_resume_state
from redheart.checkpoint.epoch import EpochCheckpoint
from redheart.config import Config, resolved_yaml
from redheart.errors import Interrupted, TrainingError
from redheart.messages import note, say, text, warn
from redheart.model import UnifiedModel, count_model, dimensions
from redheart.storage import append_line, fingerprint, read_json, read_lines, write_json, write_text
from redheart.tasks import MODULES
from redheart.training.engine import Engine
from redheart.training.evaluation import Evaluation, evaluate_model
from redheart.training.identity import run_identity
from redheart.training.loop import TERM_NAMES, Step, TrainingLoop
from redheart.training.monitor import UpdateMonitor, UpdateReport
from redheart.training.oom import OomLog
from redheart.training.optimizer import build_optimizer
from redheart.training.placement import choose_preset
from redheart.training.table import SituationTable

METRICS = "metrics.jsonl"
#: What belongs to one run and is moved away, not overwritten, when another run takes the same output folder.
_OF_A_RUN = (
    METRICS,
    "run.json",
    "checkpoints",
    "tensorboard",
    "sweet_spot_analysis",
    "crossover",
    "crossover_final.pth",
    "best_model",
    "report",
    "plots",
    "oom_stats",
)


@dataclass(frozen=True)
class TrainingResult:
    """What came of it.

    Attributes:
        skipped: it had been done before with the same settings and data.
        dry_run: no optimizer step was taken.
    """

    output: Path
    epochs: int
    learning_rate: float
    preset: str
    skipped: bool
    dry_run: bool


@dataclass
class _EpochSums:
    """Running sums over the steps of an epoch; stored in the cursor so that a resumed epoch reports whole numbers."""

    situations: int = 0
    loss: float = 0.0
    terms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TERM_NAMES, 0.0))
    norms: list[float] = field(default_factory=list)
    module_norms: dict[str, list[float]] = field(default_factory=lambda: {module: [] for module in MODULES})
    moved: dict[str, float] = field(default_factory=lambda: dict.fromkeys(MODULES, 0.0))
    dead: dict[str, float] = field(default_factory=dict)
    updates: int = 0
    seconds: float = 0.0

    def add(self, step: Step) -> None:
        if math.isfinite(step.loss):
            self.situations += step.situations
            self.loss += step.loss * step.situations
            for name, value in step.terms.items():
                self.terms[name] += value * step.situations
        if step.gradient_norm is not None:
            self.norms.append(step.gradient_norm)
        for module, value in step.module_norms.items():
            self.module_norms[module].append(value)
        self.updates += step.updated

    def add_look(self, report: UpdateReport) -> None:
        """Updates of several looks add up like steps of a walk; a row is dead only if no look saw it move."""
        for module in MODULES:
            self.moved[module] = math.hypot(self.moved[module], report.relative[module])
            self.dead[module] = min(self.dead.get(module, 1.0), report.dead_fraction[module])

    def train_record(self) -> dict[str, Any]:
        count = max(1, self.situations)
        return {"loss": self.loss / count, "terms": {name: value / count for name, value in self.terms.items()}}

    def gradient_record(self) -> dict[str, Any]:
        modules = {
            module: {"mean": float(np.mean(values)), "std": float(np.std(values)), "max": float(np.max(values))}
            for module, values in self.module_norms.items()
            if values
        }
        mean = {"total_norm_mean": float(np.mean(self.norms))} if self.norms else {}
        return {**mean, "modules": modules}

    def update_record(self) -> dict[str, Any]:
        return {
            "modules": {
                module: {"relative": self.moved[module], "dead_fraction": self.dead.get(module, 1.0)}
                for module in MODULES
            }
        }


def _evaluation_record(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "count": evaluation.count,
        "loss": evaluation.loss,
        "terms": evaluation.terms,
        "tasks": evaluation.tasks,
        "modules": evaluation.modules,
    }


class TrainingStage:
    """One main training in one output folder.

    Args:
        dataset: an ``.embedded.json``.
        learning_rate: the peak of the schedule.
        should_stop: looked at after every step; a signal handler sets what it reads.
    """

    def __init__(
        self,
        config: Config,
        dataset: Path,
        output: Path,
        *,
        learning_rate: float,
        force: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config, self.output, self.learning_rate = config, output, learning_rate
        self.force, self.should_stop = force, should_stop
        self.table = SituationTable.open(dataset)
        self.preset, self.why = choose_preset(config)
        self.identity = run_identity(config, self.table.identity, self.preset, learning_rate)
        self.run_name = fingerprint(self.identity)
        self.oom = OomLog()

    # ------------------------------------------------------------------ before

    def _previous(self) -> dict[str, Any] | None:
        path = self.output / "run.json"
        if not path.exists():
            return None
        found = read_json(path)
        return found if isinstance(found, dict) else None

    def _already_done(self) -> bool:
        previous = self._previous()
        if previous is None or previous.get("run") != self.run_name or not previous.get("finished"):
            return False
        return len(list_epochs(self.output)) == self.config.training.epochs

    def _retire_other_run(self) -> None:
        """Moves another run's files out of the way; nothing is deleted."""
        previous = self._previous()
        has_files = any((self.output / name).exists() for name in _OF_A_RUN)
        if not has_files or (previous is not None and previous.get("run") == self.run_name and not self.force):
            return
        stamp = datetime.now(timezone.utc).strftime("%Y%m%d_%H%M%S")
        target = self.output / "previous" / stamp
        number = 1
        while target.exists():
            number += 1
            target = self.output / "previous" / f"{stamp}_{number}"
        target.mkdir(parents=True)
        for name in _OF_A_RUN:
            if (self.output / name).exists():
                (self.output / name).rename(target / name)
        say("training_retired", path=target)

    def _describe_run(self, *, finished: bool, engine: Engine) -> None:
        write_json(
            self.output / "run.json",
            {
                "run": self.run_name,
                "finished": finished,
                "identity": self.identity,
                "engine": engine.kind,
                "world_size": engine.world_size,
                "device": str(engine.device),
                "precision": engine.precision,
                "dataset": str(self.table.path),
                "counts": self.table.counts,
                "updated": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            },
        )

    # ------------------------------------------------------------------ the run

    def run(self) -> TrainingResult:
        """Trains, or goes on, or says that it was done.

        Raises:
            Interrupted: asked to stop; the state is saved.
            TrainingError: see the loop; under ``strict`` also a module that does not update.
            StorageError: a file could not be written; what was there before is intact.
        """
        training = self.config.training
        result = TrainingResult(
            self.output,
            training.epochs,
            self.learning_rate,
            self.preset,
            skipped=False,
            dry_run=training.no_param_update,
        )
        if not self.force and self._already_done():
            say("training_done_already", epochs=training.epochs)
            return replace(result, skipped=True)
        engine = Engine(self.config, tracking_folder=self.output / "tensorboard")
        if engine.is_main:
            self._retire_other_run()
        engine.barrier()
        self._train(engine)
        return result

    def _announce(self, engine: Engine) -> None:
        training, geometry = self.config.training, engine.geometry
        say(
            "training_start",
            epochs=training.epochs,
            learning_rate=self.learning_rate,
            preset=self.preset,
            why=self.why,
            engine=engine.kind,
            precision="fp32" if engine.precision == "no" else engine.precision,
        )
        say(
            "training_geometry",
            micro=geometry.micro_batch_size,
            accumulation=geometry.gradient_accumulation_steps,
            world=geometry.world_size,
            total=geometry.global_batch_size,
        )
        say("training_splits", **self.table.counts)
        if training.no_param_update:
            say("training_dry_run")

    def _train(self, engine: Engine) -> None:
        config, training, table = self.config, self.config.training, self.table
        self._announce(engine)
        torch.manual_seed(config.seed)
        train = table.split_indices["train"]
        statistics = table.statistics(train)
        shape = dimensions(self.preset, d_embed=table.d_embed, dropout=config.model.dropout)
        model = UnifiedModel(shape, statistics)
        parameters = count_model(model).total
        engine.prepare(model, build_optimizer(model, self.learning_rate, training))
        loop = TrainingLoop(
            engine,
            table,
            train,
            statistics,
            learning_rate=self.learning_rate,
            total_epochs=training.epochs,
            seed=config.seed,
            norms_every=1 if engine.kind == "plain" else training.monitor_every,
            oom=self.oom,
        )
        self._manifest = {
            "run": self.run_name,
            "preset": self.preset,
            "d_embed": table.d_embed,
            "model": shape.to_json(),
            "statistics": statistics.to_json(),
            "seed": config.seed,
            "learning_rate": self.learning_rate,
        }
        epoch, start_batch, sums = self._resume(engine, loop)
        if engine.is_main:
            write_text(self.output / "config.yaml", resolved_yaml(config))
            self._describe_run(finished=False, engine=engine)
            if loop.global_step == 0:
                (self.output / METRICS).unlink(missing_ok=True)
                append_line(
                    self.output / METRICS,
                    {
                        "kind": "start",
                        "run": self.run_name,
                        "config": msgspec.to_builtins(config),
                        "learning_rate": self.learning_rate,
                        "preset": self.preset,
                        "world_size": engine.world_size,
                        "engine": engine.kind,
                        "parameters": parameters,
                        "dry_run": training.no_param_update,
                        "counts": table.counts,
                    },
                )
        engine.accelerator.init_trackers("redheart")
        monitor = UpdateMonitor(engine, training.weight_decay)
        started = time.monotonic()
        bar = tqdm(
            total=loop.total_steps,
            initial=loop.global_step,
            unit="batch",
            disable=None if engine.is_main else True,
            dynamic_ncols=True,
        )
        with bar:
            for number in range(epoch, training.epochs + 1):
                self._run_epoch(engine, loop, monitor, number, start_batch, sums, bar)
                start_batch, sums = 0, _EpochSums()
        if engine.is_main:
            path = self.oom.write(
                self.output, device=str(engine.device), micro_batch_size=engine.geometry.micro_batch_size
            )
            say("training_oom_stats", path=path, count=len(self.oom.events))
            self._describe_run(finished=True, engine=engine)
            say("training_done", epochs=training.epochs, seconds=time.monotonic() - started)
        engine.barrier()
        engine.accelerator.end_training()  # closes the trackers, and the process group: nothing collective after this
        engine.accelerator.free_memory()
        gc.collect()

    def _resume(self, engine: Engine, loop: TrainingLoop) -> tuple[int, int, _EpochSums]:
        """Goes on from the newest valid state of this very run, if there is one."""
        state, reasons = newest_resume_state(self.output)
        for reason in reasons:
            warn("training_resume_passed_over", reason=reason)
        if state is None or state.cursor.get("run") != self.run_name:
            return 1, 0, _EpochSums()
        cursor = state.cursor
        engine.load_state(state.path / "engine")
        loop.global_step = cursor["global_step"]
        say("training_resumed", epoch=cursor["epoch"], batch=cursor["batches_done"], path=state.path)
        return cursor["epoch"], cursor["batches_done"], _EpochSums(**cursor["sums"])

    def _save_state(self, engine: Engine, loop: TrainingLoop, epoch: int, batches_done: int, sums: _EpochSums) -> None:
        cursor = {
            "run": self.run_name,
            "epoch": epoch,
            "batches_done": batches_done,
            "global_step": loop.global_step,
            "sums": vars(sums),
            "world_size": engine.world_size,
            "manifest": self._manifest,
        }
        save_resume_state(
            self.output,
            cursor,
            lambda folder: engine.save_state(folder / "engine"),
            is_main=engine.is_main,
            barrier=engine.barrier,
        )

    def _run_epoch(
        self,
        engine: Engine,
        loop: TrainingLoop,
        monitor: UpdateMonitor,
        epoch: int,
        start_batch: int,
        sums: _EpochSums,
        bar: tqdm[Any],
    ) -> None:
        every = self.config.training.monitor_every
        started = time.monotonic()
        seen = 0
        for step in loop.epoch(epoch, start_batch=start_batch):
            sums.add(step)
            seen += step.situations
            if step.updated:
                monitor.stepped(step.learning_rate)
            rate = seen / (time.monotonic() - started)
            bar.set_description(f"epoch {epoch}/{self.config.training.epochs}")
            bar.set_postfix(loss=f"{step.loss:.4f}", lr=f"{step.learning_rate:.1e}", rate=f"{rate:.0f}/s")
            bar.update()
            engine.accelerator.log(
                {"train/loss": step.loss, "train/learning_rate": step.learning_rate}
                | ({"train/gradient_norm": step.gradient_norm} if step.gradient_norm is not None else {}),
                step=step.global_step,
            )
            done = step.batch_index + 1
            if done % every == 0 or done == step.batches:
                self._look(engine, monitor, sums)
            if engine.any_process(self.should_stop()) and done < step.batches:
                sums.seconds += time.monotonic() - started
                self._save_state(engine, loop, epoch, done, sums)
                say("training_interrupted", epoch=epoch, batch=done)
                raise Interrupted(f"stopped at epoch {epoch}, batch {done}; the same command goes on from there")
        sums.seconds += time.monotonic() - started
        self._end_epoch(engine, loop, epoch, sums, seen)
        if engine.any_process(self.should_stop()) and epoch < self.config.training.epochs:
            say("training_interrupted", epoch=epoch + 1, batch=0)
            raise Interrupted(f"stopped after epoch {epoch}; the same command goes on from there")

    def _look(self, engine: Engine, monitor: UpdateMonitor, sums: _EpochSums) -> None:
        """The update check: what people search the log for."""
        training = self.config.training
        report = monitor.look()
        sums.add_look(report)
        still = report.unchanged_modules(training.dead_update_threshold)
        if still:
            reason = text("training_reason_dry_run") if training.no_param_update else ""
            warn("training_not_updated", modules=", ".join(still), reason=reason)
        else:
            changes = report.relative.values()
            say(
                "training_updated",
                count=len(changes),
                total=len(MODULES),
                lowest=min(changes),
                highest=max(changes),
                steps=report.steps,
            )
        if report.unchanged_tensors and not training.no_param_update:
            shown = ", ".join(report.unchanged_tensors[:5]) + (", …" if len(report.unchanged_tensors) > 5 else "")
            warn("training_dead_tensors", count=len(report.unchanged_tensors), tensors=shown)
        for module, relative in report.relative.items():
            note(f"{module}: relative update {relative:.2e}, unmoved rows {report.dead_fraction[module]:.1%}")
        if training.strict and not training.no_param_update and (still or report.unchanged_tensors):
            dead = still or report.unchanged_tensors
            raise TrainingError(f"training.strict: not updated in {report.steps} steps: {', '.join(dead)}")

    def _end_epoch(self, engine: Engine, loop: TrainingLoop, epoch: int, sums: _EpochSums, seen: int) -> None:
        training = self.config.training
        evaluation = evaluate_model(
            engine.model,
            self.table,
            "choose",
            statistics=loop.statistics,
            device=engine.device,
            rank=engine.rank,
            world_size=engine.world_size,
            gather=engine.gather,
            autocast=engine.accelerator.autocast,
            with_items=False,
        )
        state = engine.whole_tensors(keep=engine.is_main)  # collective: every process enters
        scored = _evaluation_record(evaluation)
        gradient = sums.gradient_record()
        if engine.is_main:
            saved = self._save_epoch(epoch, loop, state, scored)
            record = {
                "kind": "epoch",
                "epoch": epoch,
                "global_step": loop.global_step,
                "learning_rate": engine.optimizer.param_groups[0]["lr"],
                "seconds": sums.seconds,
                "updates": sums.updates,
                "train": sums.train_record(),
                "choose": scored,
                "gradient": gradient,
                "update": sums.update_record(),
                "checkpoint": str(saved.path.relative_to(self.output)),
            }
            append_line(self.output / METRICS, record)
            skill = evaluation.mean_skill
            say(
                "training_epoch",
                epoch=epoch,
                epochs=training.epochs,
                train=record["train"]["loss"],
                choose=evaluation.loss,
                count=evaluation.count,
                norm=f"{gradient['total_norm_mean']:.3f}" if "total_norm_mean" in gradient else "–",
                skill=f"{skill:+.3f}" if skill is not None else "–",
                rate=seen / max(sums.seconds, 1e-9),
            )
            say("training_checkpoint", path=saved.path)
            engine.accelerator.log(
                {"choose/loss": evaluation.loss}
                | {f"choose/{name}": task["skill"] for name, task in evaluation.tasks.items() if "skill" in task},
                step=loop.global_step,
            )
        self._save_state(engine, loop, epoch + 1, 0, _EpochSums())

    def _save_epoch(
        self, epoch: int, loop: TrainingLoop, state: dict[str, Any], scored: dict[str, Any]
    ) -> EpochCheckpoint:
        manifest = {**self._manifest, "global_step": loop.global_step, "metrics": {"choose": scored}}
        return save_epoch(self.output, epoch=epoch, state=state, manifest=manifest)


def training_metrics(output: Path) -> list[dict[str, Any]]:
    """The epochs' records of ``output``; of an epoch that was written twice, the later."""
    by_epoch = {line["epoch"]: line for line in read_lines(output / METRICS) if line.get("kind") == "epoch"}
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]
