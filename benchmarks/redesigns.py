"""What other designs of each part are worth: ``python -m benchmarks.redesigns --data situations.json``.

Where the ablation can't tell a part from nothing, the part may be built wrongly. Here each is built in two other ways, and
trained like the ablation's runs: the same data, rate, epochs, seeds and choice of the epoch, and every weight that it shares with the
model as it is starts as it does there. Two differences are measured, paired by seed and situation: to the model as it is, which says
whether the redesign is better, and to the model without the part, which says what the part would be worth if built so.

The result goes to ``benchmarks/results/redesigns.json`` with device, versions and date. Finished runs of the ablation's variants are
kept in ``--runs``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import msgspec
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.startup import _processor
from redheart.ablation.run import Ablator, resolve
from redheart.ablation.scores import METRICS, Scorer
from redheart.ablation.variants import WHOLE
from redheart.ablation.worth import Worth, beyond_noise, worth_of
from redheart.config import load_config
from redheart.evaluation.bootstrap import Draws
from redheart.model import ModelDimensions, Outputs, TargetStatistics, UnifiedModel
from redheart.model.modules import heads as heads_module
from redheart.model.modules.blocks import masked_mean
from redheart.tasks import ANALYZED_TASKS, TASKS
from redheart.workflow.datasets import embed

RESULT = Path(__file__).parent / "results" / "redesigns.json"
Build = Callable[[ModelDimensions, TargetStatistics], UnifiedModel]
Scores = list[dict[str, Draws]]
#: How much of a part's own prediction is added to the head's, relative to the prior.
SHARE = 0.2
#: Which head's prediction the own prediction of a part belongs to.
TASK_OF = {
    "phases.self": "emotion",
    "phases.empathy": "regret",
    "phases.community": "verdict",
    "dsp_simulator": "emotion",
    "kalman_filter": "emotion",
}


@dataclass(frozen=True)
class Redesign:
    """Another design of one part; ``what`` in words."""

    part: str
    what: str
    build: Build


def every_head_reads(part: str) -> Build:
    """The features of ``part`` go to all heads, not only to their own task's."""
    original = heads_module.feature_widths

    def wider(task: str, dims: ModelDimensions) -> dict[str, int]:
        of_all = {module: width for one in TASKS for module, width in original(one.name, dims).items()}
        own = original(task, dims)
        return own | {module: width for module, width in of_all.items() if module.split(".")[0] == part}

    def build(dims: ModelDimensions, statistics: TargetStatistics) -> UnifiedModel:
        with patch.object(heads_module, "feature_widths", wider):
            return UnifiedModel(dims, statistics)

    return build


class _Adding(UnifiedModel):
    """What the parts in ``added`` predict themselves is added in part to the heads' predictions."""

    added: ClassVar[Mapping[str, str]] = {}

    def forward(self, segments: Tensor, segment_mask: Tensor, kinds: Tensor, positions: Tensor) -> Outputs:
        outputs = super().forward(segments, segment_mask, kinds, positions)
        predictions = dict(outputs.predictions)
        for module, task in self.added.items():
            own = outputs.auxiliary[module]
            prior = self._head(task).relative_to_prior(torch.zeros_like(own))
            predictions[task] = predictions[task] + SHARE * (own - prior)
        return Outputs(predictions, outputs.auxiliary)


def adds_its_prediction(part: str) -> Build:
    """The part's own prediction, which has a loss of its own, counts directly."""
    chosen = {module: task for module, task in TASK_OF.items() if module.split(".")[0] == part}
    return type(f"_Adding_{part}", (_Adding,), {"added": chosen})


class _CorrectsTheHead(UnifiedModel):
    """The wrapper's own loss asks it to correct what counts, the head's prediction, and not the analyzer's."""

    def forward(self, segments: Tensor, segment_mask: Tensor, kinds: Tensor, positions: Tensor) -> Outputs:
        outputs = super().forward(segments, segment_mask, kinds, positions)
        auxiliary = dict(outputs.auxiliary)
        for name in ANALYZED_TASKS:
            module = f"advanced_wrappers.{name}"
            correction = auxiliary[module] - auxiliary[f"neural_analyzers.{name}"].detach()
            gated = self.advanced_wrappers[name].gate * correction
            auxiliary[module] = (outputs.predictions[name] - gated).detach() + correction
        return Outputs(outputs.predictions, auxiliary)


class _PoolsSeeBoth(UnifiedModel):
    """Each task's pool gets the mean of the segments as they come in, beside what attention made of them."""

    def __init__(self, dims: ModelDimensions, statistics: TargetStatistics) -> None:
        super().__init__(dims, statistics)
        plain = self.backbone.forward

        def forward(
            segments: Tensor, attend: Tensor, kinds: Tensor, positions: Tensor, views: Tensor
        ) -> tuple[Tensor, Tensor, Tensor]:
            hidden, pools, near = plain(segments, attend, kinds, positions, views)
            entrance = self.backbone.embed(segments) + self.backbone.kind(kinds)
            return hidden, pools + masked_mean(entrance, attend[:, 0, 0]).unsqueeze(1), near

        self.backbone.forward = forward


def _quiet_blocks(dims: ModelDimensions, statistics: TargetStatistics) -> UnifiedModel:
    model = UnifiedModel(dims, statistics)
    with torch.no_grad():
        for block in model.backbone.blocks:
            block.attention.out.weight.mul_(0.1)
            block.feed_forward.contract.weight.mul_(0.1)
    return model


def _shared_tower(dims: ModelDimensions, statistics: TargetStatistics) -> UnifiedModel:
    model = UnifiedModel(dims, statistics)
    first, *others = model.neural_analyzers.values()
    for analyzer in others:
        analyzer.blocks = first.blocks
    return model


def _open_gates(dims: ModelDimensions, statistics: TargetStatistics) -> UnifiedModel:
    model = UnifiedModel(dims, statistics)
    with torch.no_grad():
        for wrapper in model.advanced_wrappers.values():
            wrapper.gate.fill_(1.0)
    return model


REDESIGNS = (
    Redesign("backbone", "blocks start near the identity (a tenth of the residual)", _quiet_blocks),
    Redesign("backbone", "pools also get the mean of the segments as they come in", _PoolsSeeBoth),
    Redesign("neural_analyzers", "one tower shared by the four tasks", _shared_tower),
    Redesign("neural_analyzers", "every head reads all four", every_head_reads("neural_analyzers")),
    Redesign("advanced_wrappers", "gates start at 1 instead of 0.2", _open_gates),
    Redesign("advanced_wrappers", "their loss corrects the head instead of the analyzer", _CorrectsTheHead),
    *(
        Redesign(part, what, make(part))
        for part in ("phases", "dsp_simulator", "kalman_filter")
        for what, make in (
            ("every head reads its features", every_head_reads),
            ("a fifth of its own prediction is added to the head's", adds_its_prediction),
        )
    ),
)


def started_alike(build: Build) -> Build:
    """Like ``build``, with every weight that the model as it is has in the same shape starting as it does there.

    What a redesign itself sets otherwise (gates, residuals) stays: it is found by building both from the same random numbers.
    """

    def built(dims: ModelDimensions, statistics: TargetStatistics) -> UnifiedModel:
        state = torch.get_rng_state()
        redesigned = build(dims, statistics)
        torch.set_rng_state(state)
        whole = UnifiedModel(dims, statistics)
        start, own = whole.state_dict(), redesigned.state_dict()
        if all(name in start and start[name].shape == tensor.shape for name, tensor in own.items()):
            return redesigned  # the same shapes in the same order: what differs was meant
        alike = {name: start[name] for name in own if name in start and start[name].shape == own[name].shape}
        redesigned.load_state_dict(alike, strict=False)
        return redesigned

    return built


def measure(
    ablator: Ablator, redesigns: Sequence[Redesign], seeds: Sequence[int], *, samples: int, confidence: float
) -> list[dict[str, Any]]:
    """A record for each redesign: its chosen epochs, its parameters, and by metric both differences."""
    scorer = Scorer(ablator.table, "judge", ablator.runner.statistics, samples=samples, seed=0)
    variants = [WHOLE, *dict.fromkeys(one.part for one in redesigns)]
    runs = len(seeds) * (len(variants) + len(redesigns))
    scores: dict[str, Scores] = {}
    found: list[tuple[Redesign, Scores, list[int], int]] = []
    with tqdm(total=runs, unit="run", desc="redesigns", disable=None) as bar:
        for variant in variants:
            for seed in seeds:
                if ablator.finished(variant, seed) is None:
                    ablator.run(variant, seed)
                scores.setdefault(variant, []).append(scorer.score(ablator.finished(variant, seed).predictions))
                bar.update()
        for redesign in redesigns:
            own: Scores = []
            epochs = []
            for seed in seeds:
                kept, _ = ablator.train(started_alike(redesign.build), seed, name=redesign.what)
                own.append(scorer.score(kept.judged.predictions))
                epochs.append(kept.epoch)
                bar.update()
            model = redesign.build(ablator.runner.dimensions, ablator.runner.statistics)
            found.append((redesign, own, epochs, sum(one.numel() for one in model.parameters())))
    compared = [(own, scores[WHOLE], scores[redesign.part]) for redesign, own, _, _ in found]
    worths = _worths(compared, ablator.table.counts["judge"], confidence)
    remaining = beyond_noise({key: worth.p_value for key, worth in worths.items()}, 1 - confidence)
    return [
        {
            "part": redesign.part,
            "redesign": redesign.what,
            "parameters": parameters,
            "chosen_epochs": epochs,
            **{
                against: {
                    name: asdict(replace(worth, is_beyond_noise=(at, which, name) in remaining))
                    for (at, which, name), worth in worths.items()
                    if (at, which) == (place, against)
                }
                for against in ("as it is", "without it")
            },
        }
        for place, (redesign, _, epochs, parameters) in enumerate(found)
    ]


def _worths(
    compared: Sequence[tuple[Scores, Scores, Scores]], situations: int, confidence: float
) -> dict[tuple[int, str, str], Worth]:
    """By place, what it is compared with, and metric: each redesign's own scores, those of the model as it is, and without the part."""
    worths: dict[tuple[int, str, str], Worth] = {}
    for place, (own, as_it_is, without) in enumerate(compared):
        for against, other in (("as it is", as_it_is), ("without it", without)):
            for metric in METRICS:
                worth = worth_of(own, other, metric, situations, confidence)
                if worth is not None:
                    worths[place, against, metric.name] = worth
    return worths


def as_table(records: Sequence[Mapping[str, Any]]) -> str:
    """For people: the gain over the part as it is, and in brackets over the model without it."""
    head = "".join(f"{metric.label:>34}" for metric in METRICS)
    lines = [f"{'in the direction of better: to the part as it is (to none)':<76}{head}"]
    for one in records:
        cells = []
        for metric in METRICS:
            parts = [one[against].get(metric.name) for against in ("as it is", "without it")]
            shown = [
                f"{part['mean']:+.4f} ± {part['margin']:.4f}{'*' if part['is_beyond_noise'] else ''}" if part else "–"
                for part in parts
            ]
            cells.append(f"{shown[0]} ({shown[1]})")
        lines.append(f"{one['part'] + ': ' + one['redesign']:<76}" + "".join(f"{cell:>34}" for cell in cells))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, compares, stores, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a dataset with every target (default: the bundled sample)")
    parser.add_argument("--runs", type=Path, required=True, help="the folder of finished runs; embeddings go there too")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--only", help="redesigns of these parts alone, separated by commas")
    parser.add_argument("--result", type=Path, default=RESULT, help="the file to write")
    chosen = parser.parse_args(argv)
    began = time.perf_counter()
    settings = [("output", str(chosen.runs)), ("data.path", chosen.data), ("ablation.epochs", chosen.epochs)]
    config = resolve(load_config(None, [one for one in settings if one[1] is not None]))
    dataset = embed(config)
    ablator = Ablator(config, dataset, chosen.runs / "runs", chosen.lr)
    wanted = chosen.only.split(",") if chosen.only else None
    redesigns = [one for one in REDESIGNS if wanted is None or one.part in wanted]
    confidence = config.report.confidence
    records = measure(
        ablator, redesigns, range(chosen.seeds), samples=config.report.bootstrap_samples, confidence=confidence
    )
    result = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "device": "cpu",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "settings": {
            "preset": config.model.preset,
            "dataset": ablator.table.identity,
            "counts": ablator.table.counts,
            "seeds": chosen.seeds,
            "epochs": chosen.epochs,
            "learning_rate": chosen.lr,
            "confidence": confidence,
            "training": msgspec.to_builtins(config.training),
        },
        "seconds": round(time.perf_counter() - began, 1),
        "redesigns": records,
    }
    chosen.result.parent.mkdir(parents=True, exist_ok=True)
    chosen.result.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(as_table(records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
