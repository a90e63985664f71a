"""How each model was made: what it was trained on, how the training went, and that the chain of weights is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from leaderboards.health.records import IterationHealth, Quantiles
from reports import wording
from reports.facts import lineage
from reports.facts import training as training_facts
from reports.facts.run import ModelFacts, RunFacts
from reports.facts.tables import Cell, Grid
from reports.facts.training import Log
from reports.page import rendering
from reports.page.section import Chart, Section
from reports.sections.benchmarks import Panel

__all__ = ["build"]

#: what a stage counts that is not lost on the way; of new prompts everything else is a reason for a loss
_PROMPT_TOTALS: Final = frozenset({"prompts", "asked", "rounds", "continuations", "tokens"})
#: losses of the stage ``pairs``, in the order they are looked for: of candidates, and of prompts
_CANDIDATES: Final = ("truncated", "empty", "unparsed", "duplicate")
_OUTCOMES: Final = ("too_few", "tied", "below_gap", "over_max")

#: title -> logged numbers in one chart, and its options
_CURVES: Final[Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]]] = {
    "Loss": (("loss", "dpo_loss"), {"y": "nats"}),
    "Reward margin": (("rewards/margins", "rewards/chosen", "rewards/rejected"), {"y": "beta times nats", "zero": 0}),
    "Loss of the rehearsed judgments": (("rehearsal_loss",), {"y": "nats per token"}),
    "Pairs in the right order": (("rewards/accuracies",), {"y": "share", "domain": (0, 1)}),
    "Log-probability of the answers": (("logps/chosen", "logps/rejected"), {"y": "nats"}),
    "Tokens guessed right": (("mean_token_accuracy",), {"y": "share", "domain": (0, 1)}),
}
_TOLD_IN_LINE: Final = ("loss", "dpo_loss", "rehearsal_loss", "rewards/margins", "rewards/accuracies")
_NO_CURVE: Final = ("step", "epoch", "tokens")
_MAX_CONTESTS: Final = 200
_DIGITS: Final = 5  # significant, of a point in a chart

Panels = list[tuple[Panel, str]]
Numbers = Mapping[str, float]


@dataclass(frozen=True)
class _LogTold:
    """One training's log: a line, curves, and a table of every number in it."""

    log: Log
    line: tuple[tuple[str, str, str], ...]
    panels: Panels
    table: Grid


@dataclass(frozen=True)
class _Made:
    model: ModelFacts
    logs: list[_LogTold]


@dataclass(frozen=True)
class _Told:
    facts: RunFacts
    missing: str
    lineage: list[Grid]
    panels: Panels
    made: list[_Made]


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The section; see ``reports.page.section.Builder``. None where no model can have been trained."""
    charts: dict[str, Chart] = {}
    told = [_told(facts, f"training-{i}", charts) for i, facts in enumerate(runs) if facts.is_run]
    if not told:
        return None
    body = rendering.render("training.html.j2", told=told, stage_rows=lineage.stage_rows)
    return Section("training", "Training", body, charts)


def _told(facts: RunFacts, id: str, charts: dict[str, Chart]) -> _Told:
    health, missing = training_facts.health(facts)
    counts = {m.name: {s.name: s.counts for s in m.stages} for m in facts.models}
    rounds = health.iterations if health else ()
    found = [*_fates(counts), *_judged(rounds), *_pairs(rounds), *_selections(facts)]
    made = []
    for m in facts.models:
        logs = training_facts.logs(Path(facts.path) / m.name)
        if m.stages or m.iteration or logs:
            made.append(_Made(m, [_log(log, f"{id}-{m.name}-{j}", charts) for j, log in enumerate(logs)]))
    has_rounds = any("completions" in c.get("candidates", {}) for c in counts.values())
    return _Told(
        facts, missing if has_rounds else "", list(lineage.tables(facts)), _registered(found, id, charts), made
    )


def _registered(panels: Sequence[Panel], id: str, charts: dict[str, Chart]) -> Panels:
    """Panels with the ids of their charts."""
    named = [(p, f"{id}-{j}") for j, p in enumerate(panels)]
    charts |= {name: p.chart for p, name in named if p.chart is not None}
    return named


# --- which step was kept


def _selections(facts: RunFacts) -> Iterator[Panel]:
    """Checkpoints of a training, each against the one before it, and the step that was kept."""
    points: list[dict[str, Any]] = []
    rows: list[tuple[str | Cell, ...]] = []
    for model in facts.models:
        kept, judge = (model.iteration.get(f"selection.{name}", wording.NOTHING) for name in ("chosen", "judge"))
        for contest in _contests(model):
            step, rate = contest["step"], contest.get("win_rate")
            if rate is not None:
                points.append({"x": step, "y": 100 * rate, "series": model.name})
            counts = (wording.count(contest.get(name, 0)) for name in ("against", "won", "tied", "lost", "unread"))
            shown = wording.NOTHING if rate is None else wording.number(rate, "share")
            named = wording.clip(judge, 80)
            is_kept = "kept" if wording.count(step) == kept else ""
            rows.append((model.name, wording.count(step), *counts, shown, is_kept, named))
    if not rows:
        return
    title = "Checkpoints against the one before"
    note = (
        "Answers to validation prompts, compared by a judge; ties count half. The training ends where one does not win."
    )
    columns = ("Model", "Step", "Against", "Won", "Tied", "Lost", "Not read", "Win rate", "Kept", "Judge")
    options = {"x": "step", "y": "per cent", "domain": (0, 100), "zero": 50}
    yield Panel(
        title, note, Chart("lines", title, points, options) if points else None, Grid(title, columns, tuple(rows))
    )


def _contests(model: ModelFacts) -> Iterator[dict[str, float]]:
    try:
        found = json.loads(model.iteration.get("selection.contests", "[]"))
    except (ValueError, RecursionError):
        return
    for contest in found[:_MAX_CONTESTS] if isinstance(found, list) else []:
        numbers = {k: v for k, v in contest.items() if _is_number(v)} if isinstance(contest, dict) else {}
        if "step" in numbers:
            yield numbers


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


# --- what it was trained on


def _fates(counts: Mapping[str, Mapping[str, Numbers]]) -> Iterator[Panel]:
    """What became of written prompts, of candidates, and of prompts: from the stages' own counts."""
    prompts, candidates, outcomes = {}, {}, {}
    for model, stages in counts.items():
        written, answered, paired = (stages.get(name, {}) for name in ("prompts", "candidates", "pairs"))
        if "continuations" in written:
            prompts[model] = _parts(
                "new", written.get("prompts", 0), written, [k for k in written if k not in _PROMPT_TOTALS]
            )
        if "completions" in answered and "pairs" in paired:
            usable = answered["completions"] - sum(paired.get(name, 0) for name in _CANDIDATES)
            candidates[model] = _parts("usable", usable, paired, _CANDIDATES)
        if "pairs" in paired and "prompts" in paired:
            outcomes[model] = _parts("pair", paired["pairs"], paired, _OUTCOMES)
    yield from _fate_panel(
        "Written prompts",
        "What the prompt writer wrote: kept as new, or dropped, and why. Surplus: more than were asked for.",
        prompts,
    )
    yield from _fate_panel("Candidates", "The parent's answers to the new prompts: which may be in a pair.", candidates)
    yield from _fate_panel(
        "Prompts that gave a pair",
        "Too few: less than two usable candidates. Tied: equal rewards. Below gap: rewards too close (pairs.min_gap).",
        outcomes,
    )


def _parts(kept: str, number: float, counts: Numbers, losses: Sequence[str]) -> dict[str, float]:
    return {kept: max(number, 0), **{name.replace("_", " "): counts[name] for name in losses if counts.get(name)}}


def _fate_panel(title: str, note: str, found: Mapping[str, Mapping[str, float]]) -> Iterator[Panel]:
    """Stacked shares per model, the kept first; numbers and shares in the table."""
    totals = {model: sum(parts.values()) for model, parts in found.items() if sum(parts.values()) > 0}
    if not totals:
        return
    names = list(dict.fromkeys(name for model in totals for name in found[model]))
    bars = [
        {"label": model, "part": name, "value": 100 * found[model][name] / totals[model]}
        for model in totals
        for name in names
        if name in found[model]
    ]
    rows: list[tuple[str | Cell, ...]] = [
        (model, wording.count(total), *(_share_cell(found[model].get(name, 0), total) for name in names))
        for model, total in totals.items()
    ]
    table = Grid(title, ("Model", "All", *(name.capitalize() for name in names)), tuple(rows))
    yield Panel(
        title, note, Chart("bars", title, bars, {"x": "per cent", "domain": (0, 100), "scale": "grades"}), table
    )


def _share_cell(part: float, whole: float) -> Cell:
    return Cell(wording.count(part), wording.number(part / whole, "share"))


def _judged(rounds: Sequence[IterationHealth]) -> Iterator[Panel]:
    """The scores the parent gave, and what it gave no score to."""
    grades = sorted({g for r in rounds for g in r.grades}, key=_as_number)
    totals = {r.model: sum(r.grades.values()) for r in rounds}
    bars = [
        {"label": g, "value": 100 * r.grades.get(g, 0) / totals[r.model], "series": r.model}
        for r in rounds
        if totals[r.model]
        for g in grades
    ]
    note = "The parent's judgments of its own candidates, each at the nearest grade, while the model named was made."
    if any(r.rewards == "rlaif" for r in rounds):
        note = "Another model's judgments of the parent's candidates (RLAIF), each at the nearest grade."
    elif others := sorted({r.rewards for r in rounds} - {"self"}):
        what = "a control" if set(others) <= {"random", "length", "oracle"} else f"another kind ({', '.join(others)})"
        note = f"Rewards of {what}, at the nearest grade: nobody judged."
    if bars:
        rows: list[tuple[str | Cell, ...]] = [
            (r.model, *(_share_cell(r.grades.get(g, 0), totals[r.model]) for g in grades))
            for r in rounds
            if totals[r.model]
        ]
        table = Grid("Scores given", ("Model", *(f"Grade {g}" for g in grades)), tuple(rows))
        yield Panel(
            "Scores given", note, Chart("histogram", "Scores given", bars, {"x": "grade", "y": "per cent"}), table
        )
    if judged := [r for r in rounds if r.n_judgments]:
        yield Panel(
            "Judgments", "Judgments without a verdict count as no score, never as a low one.", table=_verdicts(judged)
        )


def _verdicts(rounds: Sequence[IterationHealth]) -> Grid:
    rows = tuple(
        (
            r.model,
            r.parent or wording.NOTHING,
            wording.count(r.n_judgments),
            _share_cell(sum(r.failures.values()), r.n_judgments),
            ", ".join(f"{reason.replace('_', ' ')} {n:,}" for reason, n in r.failures.items()) or "none",
        )
        for r in rounds
    )
    return Grid("Judgments", ("Model", "Judged by", "Judgments", "Without a verdict", "Reasons"), rows)


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _pairs(rounds: Sequence[IterationHealth]) -> Iterator[Panel]:
    """Lengths of chosen and rejected answers, and how far apart their rewards are."""
    note = "Points are means, lines hold the middle 80 %."
    sides = [
        (r.model, side, q)
        for r in rounds
        for side, q in (("chosen", r.chosen_chars), ("rejected", r.rejected_chars))
        if q
    ]
    if sides:
        yield _spread_panel("Length of chosen and rejected answers", note, "characters", sides)
    margins = [(r.model, "margin", r.margin) for r in rounds if r.margin]
    if margins:
        yield _spread_panel("Reward of the chosen minus that of the rejected", note, "points", margins)


def _spread_panel(title: str, note: str, unit: str, found: Sequence[tuple[str, str, Quantiles]]) -> Panel:
    one = len({side for _, side, _ in found}) == 1
    dots = [
        {"label": model, "value": q.mean, "low": q.p10, "high": q.p90, **({} if one else {"series": side})}
        for model, side, q in found
    ]
    rows = tuple(
        (
            model,
            *(() if one else (side,)),
            *(wording.number(x, unit) for x in (q.mean, q.p10, q.p50, q.p90)),
            wording.count(q.n),
        )
        for model, side, q in found
    )
    columns = ("Model", *(() if one else ("Side",)), "Mean", "10 %", "Median", "90 %", "Pairs")
    return Panel(title, note, Chart("dots", title, dots, {"x": unit}), Grid(title, columns, rows))


# --- how the training went


def _log(log: Log, id: str, charts: dict[str, Chart]) -> _LogTold:
    line = tuple(
        (name, wording.count(c.first), wording.count(c.last))
        for name in _TOLD_IN_LINE
        if (c := log.curves.get(name)) is not None
    )
    rows = tuple(
        (name, *(wording.count(x) for x in (c.first, c.lowest, c.highest, c.last)))
        for name, c in log.curves.items()
        if name not in _NO_CURVE
    )
    columns = ("Number", "First tenth", "Lowest", "Highest", "Last tenth")
    table = Grid("Every number that was logged", columns, rows, "Tenths of the steps, as means.")
    return _LogTold(log, line, _registered(list(_curves(log)), id, charts), table)


def _curves(log: Log) -> Iterator[Panel]:
    for title, (names, options) in _CURVES.items():
        found = {name: log.curves[name] for name in names if name in log.curves and len(log.curves[name].points) > 1}
        if not found:
            continue
        points = [
            {"x": x, "y": float(f"{y:.{_DIGITS}g}"), "series": name} for name, c in found.items() for x, y in c.points
        ]
        per = max(c.per_point for c in found.values())
        note = f"Each point is the mean of {per} steps. " if per > 1 else ""
        window = max(len(c.points) for c in found.values()) // training_facts.TENTH
        smooth = {"smooth": window} if window > 1 else {}
        note += f"The strong line is a running mean over {window} points." if smooth else ""
        yield Panel(title, note.strip(), Chart("lines", title, points, {"x": "step", **smooth, **options}))
