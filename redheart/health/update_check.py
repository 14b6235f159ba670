"""The update check's log lines, which people search for: which modules changed, and a warning for each that did not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from redheart.config import TrainingConfig
from redheart.errors import TrainingError
from redheart.health.update_monitor import UpdateReport
from redheart.messages import info, text, warn
from redheart.tasks import MODULES


@dataclass(frozen=True)
class Standstill:
    """What did not change since the last check.

    Attributes:
        modules: that stand still though something in the data trains them.
        excused: modules of which everything that stands still is something that nothing in the data can train.
        tensors: that did not change at all though something in the data trains them.
    """

    modules: list[str]
    excused: list[str]
    tensors: list[str]

    @classmethod
    def of(cls, report: UpdateReport, threshold: float, untrainable: Collection[str]) -> Standstill:
        """By ``threshold``, the relative change that a module must exceed."""
        tensors = [name for name in report.unchanged_tensors if name not in untrainable]
        modules: list[str] = []
        excused: list[str] = []
        for module in report.unchanged_modules(threshold):
            is_excused = report.relative[module] == 0 and not any(name.startswith(f"{module}.") for name in tensors)
            (excused if is_excused else modules).append(module)
        return cls(modules, excused, tensors)


def announce_updates(
    report: UpdateReport, config: TrainingConfig, untrainable: Collection[str] = (), *, by_module: bool = True
) -> None:
    """Says how much each module changed since the last check, and which did or did not.

    Args:
        untrainable: names of the tensors that nothing in the data can train; ``strict`` does not hold them against the model.
        by_module: with a line for each module; without it only those that stand still have one.

    Raises:
        TrainingError: under ``strict``, naming what did not change.
    """
    threshold = config.dead_update_threshold
    if config.no_param_update:
        still = ", ".join(report.unchanged_modules(threshold))
        warn("training.not_updated", modules=still, reason=text("training.reason_dry_run"))
        return
    found = Standstill.of(report, threshold, untrainable)
    _announce_modules(report, threshold, by_module)
    _announce_standstill(found, report)
    blamed = found.modules or found.tensors
    if config.strict and blamed:
        raise TrainingError(f"training.strict: not updated in {report.steps} steps: {', '.join(blamed)}")


def _announce_standstill(found: Standstill, report: UpdateReport) -> None:
    """Which modules and tensors stand still; where no module does, how much they changed."""
    if found.modules:
        warn("training.not_updated", modules=", ".join(found.modules), reason="")
    if found.excused:
        warn("training.not_updated", modules=", ".join(found.excused), reason=text("training.reason_no_target"))
    if not found.modules and not found.excused:
        changes = report.relative.values()
        info(
            "training.updated",
            count=len(changes),
            total=len(MODULES),
            lowest=min(changes),
            highest=max(changes),
            steps=report.steps,
        )
    if found.tensors:
        shown = ", ".join(found.tensors[:5]) + (", …" if len(found.tensors) > 5 else "")
        warn("training.dead_tensors", count=len(found.tensors), tensors=shown)


def is_due(every: int, batches: int, epoch: int, done: int) -> bool:
    """Whether a check is reported by module: the first, and then one in ``every`` batches, also where an epoch has fewer.

    Args:
        batches: an epoch's.
        epoch, done: the epoch, from 1, and how many of its batches there were before this check.
    """
    now = (epoch - 1) * batches + done
    last_check = now - done + (done - 1) // every * every
    return last_check == 0 or now // every > last_check // every


def _announce_modules(report: UpdateReport, threshold: float, healthy_too: bool) -> None:
    """One line per module: how much it changed, as a warning where that is no more than ``threshold``."""
    for module, relative in report.relative.items():
        still = report.dead_fraction[module]
        if relative > threshold:
            if healthy_too:
                info("training.module_update", module=module, relative=relative, still=still)
        else:
            warn("training.module_still", module=module, relative=relative, threshold=threshold, still=still)
