"""How each model was made, as tables: whose weights it came from, what the loop checked, what each stage counted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from reports import wording
from reports.facts.run import ModelFacts, RunFacts, Stage
from reports.facts.tables import Grid
from reports.facts.training import logs

__all__ = ["stage_rows", "tables"]

_HASH: Final = 12  # characters of a hash
_MAX_CHECKS: Final = 12
_MAX_WARNINGS: Final = 12

#: counts of a stage in the order of its work: what was begun with, what was made, what was lost and why, what is left
_WORK: Final = (
    *("asked", "rounds", "continuations", "responses", "completions", "distinct", "judged", "shared", "judgments"),
    *("parsed", "empty", "malformed", "keyword", "too_short", "too_long", "no_room", "truncated", "duplicate"),
    *("similar", "excluded", "surplus", "unparsed", "no_verdict", "no_review", "no_order", "order_disagrees"),
    *("all_equal", "flattened", "too_few", "tied", "below_gap", "over_max", "prompts", "examples", "pairs"),
    *("pair_share", "mean_gap", "records", "equal", "steps", "tokens"),
)
_IN_LINEAGE: Final = (
    "first_loss",
    "final_loss",
    "first_rehearsal_loss",
    "final_rehearsal_loss",
)  # of one batch each; the means of tenths stand there


def tables(facts: RunFacts) -> Iterator[Grid]:
    """Each model's weights and those it was trained from, whether these stand beside it, and what the loop checked."""
    weights = {m.name: m.fingerprint for m in facts.models}
    rows = tuple(_ancestry(facts, m, weights) for m in facts.models if m.fingerprint or m.iteration)
    columns = ("Model", "Weights", "Trained from", "Parent's weights", "Chain", "Records", "Steps", "Tokens", "Loss")
    note = (
        "Weights are named by a hash of their content. The chain is whole where the weights a model was trained from "
        "are the parent's that stand in this run. Loss: mean of the first and of the last tenth of the steps; of a "
        "training on preferences, the loss of the preferences alone."
    )
    if rows:
        yield Grid("Lineage", columns, rows, note)
    yield from _rehearsals(facts)
    doubts = tuple((m.name, text) for m in facts.models for text in _warnings(m))
    if doubts:
        yield Grid("Doubts of the loop", ("Model", "What was noticed"), doubts, "Warnings, which stopped nothing.")
    checks = {m.name: _checks(m) for m in facts.models}
    names = list(dict.fromkeys(name for found in checks.values() for name in found))
    if names:
        rows = tuple((m, *(found.get(n, wording.NOTHING) for n in names)) for m, found in checks.items() if found)
        yield Grid("Checks of the loop", ("Model", *names), rows, "What the loop found when it checked itself.")


def _rehearsals(facts: RunFacts) -> Iterator[Grid]:
    """What judging was trained beside the preferences, and whose work it is."""
    rows = []
    for model in facts.models:
        told = {k.removeprefix("rehearsal."): v for k, v in model.iteration.items() if k.startswith("rehearsal.")}
        if "what" in told:
            names = ("from_the_model", "from_people", "weight", "size", "alone")
            told["alone"] = {"true": "yes", "false": "no"}.get(told.get("alone", ""), wording.NOTHING)
            what = wording.clip(re.sub(r'[\[\]"]', "", told["what"]), 60)
            rows.append((model.name, what, *(_grouped(told.get(n, wording.NOTHING)) for n in names)))
    columns = ("Model", "Rehearsed", "The model's own", "Of human seed data", "Weight", "Judgments a step", "Alone")
    note = (
        "Judgments that were trained beside the preferences. The model's own (own, contrast, soft) hold nothing that "
        "it did not say itself; those of human seed data (eft, renewed) use people's work again, and a gain in judging "
        "may come from there. Alone: a control, in which the pairs carried no loss."
    )
    if rows:
        yield Grid("Rehearsal", columns, tuple(rows), note)


def _grouped(text: str) -> str:
    """A recorded number with its thousands apart; other texts as they are."""
    return f"{int(text):,}" if text.isdecimal() and len(text) < 12 else wording.clip(text, 20)


def _warnings(model: ModelFacts) -> list[str]:
    """What the loop noted of a round's preferences and training, as its record lists it."""
    try:
        found = json.loads(model.iteration.get("warnings", "[]"))
    except (ValueError, RecursionError):
        return []
    return [str(text) for text in found[:_MAX_WARNINGS]] if isinstance(found, list) else []


def _ancestry(facts: RunFacts, model: ModelFacts, weights: Mapping[str, str | None]) -> tuple[str, ...]:
    stated = model.iteration.get("parent_fingerprint")
    present = weights.get(model.parent or "")
    chain = wording.NOTHING
    if stated and present:
        chain = "whole" if stated == present else "BROKEN: other weights"
    trained = next((s.counts for s in model.stages if s.name == "train"), {})
    losses = _losses(facts, model) or [_count(trained, name) for name in ("first_loss", "final_loss")]
    return (
        model.name,
        (model.fingerprint or wording.NOTHING)[:_HASH],
        model.parent or wording.NOTHING,
        (stated or wording.NOTHING)[:_HASH],
        chain,
        *(_count(trained, name) for name in ("records", "steps", "tokens")),
        " → ".join(losses) if "first_loss" in trained else wording.NOTHING,
    )


def _losses(facts: RunFacts, model: ModelFacts) -> list[str]:
    """Means over the first and the last tenth of the steps; none where there is no log."""
    found = logs(Path(facts.path) / model.name)
    curves = [log.curves[name] for log in found for name in ("dpo_loss", "loss") if name in log.curves]
    return [wording.count(x) for x in (curves[0].first, curves[0].last)] if curves else []


def _checks(model: ModelFacts) -> dict[str, str]:
    found = [
        (key.removeprefix("checks."), value) for key, value in model.iteration.items() if key.startswith("checks.")
    ]
    return {wording.clip(key, 60).replace("_", " "): wording.clip(value, 60) for key, value in found[:_MAX_CHECKS]}


def _count(counts: Mapping[str, float], name: str) -> str:
    return wording.count(counts[name]) if name in counts else wording.NOTHING


def stage_rows(stages: Iterable[Stage]) -> list[tuple[str, str, str, str]]:
    """``(stage, what was counted, seconds, finished)`` for each stage of a model; counts of nothing are left out."""
    return [
        (
            stage.name,
            ", ".join(f"{name.replace('_', ' ')} {wording.count(value)}" for name, value in _in_order(stage.counts))
            or ("begun, not finished" if stage.status == "partial" else wording.NOTHING),
            wording.duration(stage.seconds) + (" after resuming" if stage.resumed else ""),
            stage.finished_at or wording.NOTHING,
        )
        for stage in stages
    ]


def _in_order(counts: Mapping[str, float]) -> list[tuple[str, float]]:
    place = {name: i for i, name in enumerate(_WORK)}
    shown = [(n, v) for n, v in counts.items() if v and n not in _IN_LINEAGE]
    return sorted(shown, key=lambda c: place.get(c[0], len(place)))
