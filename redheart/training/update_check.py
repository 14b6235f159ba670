"""The update check: what people search the log for. Said only of what was measured, in the words of the catalogue."""

from __future__ import annotations

from redheart.config import TrainingConfig
from redheart.errors import TrainingError
from redheart.messages import say, text, warn
from redheart.tasks import MODULES
from redheart.training.monitor import UpdateReport


def announce_updates(report: UpdateReport, config: TrainingConfig) -> None:
    """Says which modules changed since the last look, or warns which did not.

    Raises:
        TrainingError: under ``strict``, naming what did not change.
    """
    still = report.unchanged_modules(config.dead_update_threshold)
    if still:
        reason = text("training_reason_dry_run") if config.no_param_update else ""
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
    if report.unchanged_tensors and not config.no_param_update:
        shown = ", ".join(report.unchanged_tensors[:5]) + (", …" if len(report.unchanged_tensors) > 5 else "")
        warn("training_dead_tensors", count=len(report.unchanged_tensors), tensors=shown)
    if not config.no_param_update:
        _announce_modules(report, config.dead_update_threshold)
    if config.strict and not config.no_param_update and (still or report.unchanged_tensors):
        dead = still or report.unchanged_tensors
        raise TrainingError(f"training.strict: not updated in {report.steps} steps: {', '.join(dead)}")


def _announce_modules(report: UpdateReport, threshold: float) -> None:
    """One line a module: how much it changed, as a warning where that is no more than ``threshold``."""
    for module, relative in report.relative.items():
        still = report.dead_fraction[module]
        if relative > threshold:
            say("training_module_update", module=module, relative=relative, still=still)
        else:
            warn("training_module_still", module=module, relative=relative, threshold=threshold, still=still)
