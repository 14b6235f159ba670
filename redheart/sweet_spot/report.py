"""The analysis's report in plain words, as Markdown, in the language of this process."""

from __future__ import annotations

import statistics

from redheart.messages import text
from redheart.sweet_spot import trend, voting
from redheart.sweet_spot.choice import Choice, SweetSpotAnalysis
from redheart.sweet_spot.curves import History
from redheart.sweet_spot.techniques import TECHNIQUES, VOTERS, VOTING, plateau


def heading() -> str:
    """The report's first line."""
    return f"# {text('sweet_spot.report.title')}"


def write_report(analysis: SweetSpotAnalysis, history: History) -> str:
    """The report's text."""
    parts = [
        heading(),
        f"**{analysis.explanation}**",
        text(
            "sweet_spot.report.span",
            first=analysis.epochs[0],
            last=analysis.epochs[-1],
            count=len(analysis.epochs),
        ),
    ]
    if analysis.choices is None:
        parts.append(text("sweet_spot.report.nothing"))
    else:
        parts += [text("sweet_spot.report.read"), *_choices(analysis.choices)]
        parts += [f"## {text('sweet_spot.report.caution')}", _caution(analysis, history)]
        parts += [f"## {text('sweet_spot.report.details')}", *_details(analysis.choices)]
        parts += [f"## {text('sweet_spot.report.methods')}", _methods(analysis.settings)]
    parts.append(text("sweet_spot.report.plots"))
    return "\n\n".join(parts) + "\n"


def _choices(choices: dict[str, Choice]) -> list[str]:
    columns = [text(f"sweet_spot.report.column.{name}") for name in ("module", "epoch", "confidence")]
    columns += [text(f"sweet_spot.report.column.{one.name}") for one in VOTERS]
    columns.append(text("sweet_spot.report.column.note"))
    rows = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for module, choice in choices.items():
        votes = [_epoch(choice, one.name) for one in VOTERS]
        cells = [f"`{module}`", f"**{choice.epoch}**", f"{choice.confidence:.2f}", *votes, _remark(choice)]
        rows.append("| " + " | ".join(cells) + " |")
    epochs = [choice.epoch for choice in choices.values()]
    lines = [
        text(
            "sweet_spot.report.spread",
            first=min(epochs),
            last=max(epochs),
            median=statistics.median_low(epochs),
        )
    ]
    improving = sum(choice.still_improving for choice in choices.values())
    if improving:
        lines.append(text("sweet_spot.report.many_improving", count=improving))
    if gone := sum(choice.not_kept is not None for choice in choices.values()):
        lines.append(text("sweet_spot.report.many_not_kept", count=gone))
    return [
        f"## {text('sweet_spot.report.choices')}",
        "\n".join(rows),
        text("sweet_spot.report.abstention"),
        " ".join(lines),
    ]


def _remark(choice: Choice) -> str:
    parts = [text("sweet_spot.report.improving")] if choice.still_improving else []
    if choice.techniques[VOTING].abstains:
        parts = [text("sweet_spot.report.no_opinion")]
    if choice.not_kept is not None:
        parts.append(text("sweet_spot.report.not_kept", wanted=choice.not_kept))
    return "; ".join(parts)


def _epoch(choice: Choice, technique: str) -> str:
    vote = choice.techniques[technique]
    return "–" if vote.abstains else f"{vote.epoch} ({vote.confidence:.2f})"


def _caution(analysis: SweetSpotAnalysis, history: History) -> str:
    count = len(analysis.epochs)
    lines = [text("sweet_spot.report.dependence", cap=voting.HIGHEST_CONFIDENCE)]
    if count < trend.MIN_EPOCHS:
        lines.append(
            text(
                "sweet_spot.report.power",
                count=count,
                fewest=trend.MIN_EPOCHS,
                cap=plateau.SHORT_RUN_CONFIDENCE,
            )
        )
    else:
        level = analysis.settings["significance"]
        lines.append(text("sweet_spot.report.discoveries", modules=len(history.curves), level=level))
    lines.append(text("sweet_spot.report.crossover"))
    return "\n".join(f"- {line}" for line in lines)


def _details(choices: dict[str, Choice]) -> list[str]:
    parts = []
    for module, choice in choices.items():
        lines = [f"### `{module}`: {choice.epoch}", ""]
        if choice.because != choice.techniques[VOTING].reason:
            lines += [f"{choice.because}.", ""]
        for technique in TECHNIQUES:
            vote = choice.techniques[technique]
            lines.append(f"- **{text(f'sweet_spot.report.name.{technique}')}**: {vote.reason}.")
        parts.append("\n".join(lines))
    return parts


def _methods(settings: dict[str, float]) -> str:
    weights = {name: settings[f"{name}_weight"] for name in ("loss", "task", "stability", "gradient")}
    return "\n".join(
        f"- **{text(f'sweet_spot.report.name.{technique}')}**: "
        + text(f"sweet_spot.report.method.{technique}", **(weights if technique == "mcda" else {}))
        for technique in TECHNIQUES
    )
