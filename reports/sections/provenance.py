"""Where the numbers come from: commands, settings, weights, hashes, versions, judges, time, tokens and cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup, escape

from reports import wording
from reports.facts import comparability, reproduction, tables
from reports.facts import training as training_facts
from reports.facts.reproduction import Origin
from reports.facts.run import ModelFacts, RunFacts
from reports.facts.tables import Grid
from reports.facts.training import Marker
from reports.page import rendering
from reports.page.section import Chart, Section
from reports.sections.benchmarks import Panel
from selfreward_bench import __version__
from selfreward_bench.bases.findings import Examination
from selfreward_bench.types import EvalResult

__all__ = ["build"]

_HASH: Final = 12  # characters of a hash
_VALUE: Final = 300  # characters of a setting
_USERS: Final = 4  # of a machine, by name
_CHECK: Final = "check.json"
_CHECK_BYTES: Final = 1_000_000
_FINDINGS: Final = 40
_KINDS: Final = {
    "ift": "seed data",
    "reviews": "seed data",
    "eft": "seed data",
    "prompts": "prompts",
    "candidates": "candidates",
    "judgments": "judgments",
    "pairs": "pairs",
    "positives": "pairs",
    "rehearsal": "rehearsal",
    "train": "training",
}


@dataclass(frozen=True)
class _Told:
    facts: RunFacts
    identity: tuple[tuple[str, str], ...]
    commands: tuple[tuple[str, Markup], ...]
    uncommanded: str
    changed: Grid | None
    time: tuple[tuple[Panel, str], ...]
    evaluations: Grid | None
    conditions: tuple[Grid, ...]
    unlike: list[str]
    hashes: Grid | None


def build(runs: Sequence[RunFacts]) -> Section:
    """The section; see ``reports.page.section.Builder``."""
    charts: dict[str, Chart] = {}
    told = [_told(facts, f"provenance-{i}", charts) for i, facts in enumerate(runs)]
    body = rendering.render("provenance.html.j2", told=told)
    return Section("provenance", "Provenance", body, charts)


def _told(facts: RunFacts, id: str, charts: dict[str, Chart]) -> _Told:
    made = reproduction.origin(training_facts.configuration(facts))
    markers = training_facts.markers(Path(facts.path))
    panels = []
    if (panel := _time(facts)) is not None:
        panels.append((panel, f"{id}-time"))
        if panel.chart is not None:
            charts[f"{id}-time"] = panel.chart
    by_benchmark = {key: _results(facts, key) for key in tables.benchmarks([facts])}
    return _Told(
        facts=facts,
        identity=tuple(_identity(facts, markers)),
        commands=tuple((c.what, Markup(escape(c.text))) for c in reproduction.commands(facts, made)),  # noqa: S704
        uncommanded=_uncommanded(made, facts),
        changed=_changed(made) if made else None,
        time=tuple(panels),
        evaluations=_evaluations(facts),
        conditions=tuple(g for key, found in by_benchmark.items() if (g := _conditions(key, found)) is not None),
        unlike=[
            f"{wording.title(k)}: {phrase}"
            for k, found in by_benchmark.items()
            for phrase in comparability.unlike(found)
        ],
        hashes=_hashes(markers, facts),
    )


def _results(facts: RunFacts, key: str) -> dict[str, EvalResult]:
    return {m.name: m.results[key] for m in facts.models if key in m.results}


def _identity(facts: RunFacts, markers: Sequence[Marker]) -> Iterator[tuple[str, str]]:
    yield "Run" if facts.is_run else "Results", facts.path
    used = sorted({r.versions.get("srbench", "") for _, _, r in _all_results(facts)} - {""})
    by = facts.srbench or (not facts.is_run and ", ".join(used)) or "of unknown version"
    yield "Made by", f"srbench {by}; this page by srbench {__version__}"
    stages = [s for m in facts.models for s in m.stages]
    dates = sorted(s.finished_at for s in stages if s.finished_at)
    if dates:
        yield "Stages finished", f"{dates[0]} to {dates[-1]}"
    others = sorted({s.srbench for s in stages if s.srbench and s.srbench != facts.srbench})
    if others:
        yield "Some stages by", ", ".join(f"srbench {v}" for v in others)
    seeds = list(dict.fromkeys(m.seed for m in markers if m.seed)) or [facts.settings.get("seed", "not recorded")]
    yield from _base(Path(facts.path))
    yield "Seed", f"{', '.join(seeds)}; each sample's own seed derives from it, the stage and the record's id"
    health, _ = training_facts.health(facts)
    for told in health.iterations if health else ():
        key = wording.clip(told.judge, _VALUE) or f"none: rewards are {told.rewards}"
        yield f"Judge of {told.model}'s rewards", key
    if facts.other_judge:
        yield "Rewards", wording.clip(f"RLAIF, not self-reward: judge.model {facts.other_judge}", _VALUE)
    if threads := facts.settings.get("threads"):
        yield "Threads", threads
    yield "Device", f"{facts.settings.get('engine.device', 'not recorded')} (as configured)"
    yield from _hardware(facts, markers)


def _base(run: Path) -> Iterator[tuple[str, str]]:
    """What was found of the base before anything was trained (docs/check.md)."""
    try:
        content = (run / _CHECK).read_bytes()[:_CHECK_BYTES]
        found = Examination.model_validate(json.loads(content)["examination"])
    except (OSError, ValueError, KeyError, TypeError):  # not there, or of another version
        return
    shown = [f"{name} {value:,}" if isinstance(value, int) else str(value) for name, value in found.facts.items()]
    yield "Base, as examined", wording.clip(", ".join(shown) or "not looked into", _VALUE)
    for finding in found.findings[:_FINDINGS]:
        yield f"Base: {finding.severity} ({finding.topic})", wording.clip(finding.text, _VALUE)


def _hardware(facts: RunFacts, markers: Sequence[Marker]) -> Iterator[tuple[str, str]]:
    """The machines that stages and evaluations ran on, and which of them where there are several.

    What ran without torch knows less of its machine; it is told with what ran on the same one.
    """
    ran = [(f"{m.model}/{m.stage}", m.hardware) for m in markers]
    ran += [(f"{m.name}/{key}", {k: str(v) for k, v in r.hardware.items()}) for m, key, r in _all_results(facts)]
    machines: dict[str, tuple[dict[str, str], list[str]]] = {}
    for user, found in sorted(ran, key=lambda r: -len(r[1])):
        known = (m for m in machines.values() if found and found.items() <= m[0].items())
        machine = next(known, None) or machines.setdefault(str(found), (found, []))
        machine[1].append(user)
    for found, users in machines.values():
        told = ", ".join(f"{key.replace('_gib', ' (GiB)').replace('_', ' ')} {value}" for key, value in found.items())
        of = f" of {wording.listing(users, _USERS)}" if len(machines) > 1 else ""
        yield f"Hardware{of}", wording.clip(told, _VALUE * 2) or "not recorded"
    if not machines:
        yield "Hardware", "not recorded"


def _all_results(facts: RunFacts) -> Iterator[tuple[ModelFacts, str, EvalResult]]:
    return ((m, key, r) for m in facts.models for key, r in m.results.items())


# --- how to make it again


def _uncommanded(made: Origin | None, facts: RunFacts) -> str:
    if not facts.is_run:
        return "`srbench eval` with the same models, options and data makes these again; the command is not recorded."
    if made is None:
        return "There is no readable srbench.yaml here, so there are no commands that make this again."
    if not made.exact:
        return (
            "The settings cannot be given on a command line as they stand (unknown to this version, or too long): "
            "put the part under `config:` of srbench.yaml into a file, and give that to `srbench init --recipe`."
        )
    return ""


def _changed(made: Origin) -> Grid | None:
    if not made.differences:
        return None
    rows = tuple(
        (d.key, _value(d.value), _value(d.default) if d.known else "no such setting") for d in made.differences
    )
    return Grid("Changed settings", ("Setting", "This run", f"Recipe {made.recipe}"), rows)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return wording.clip(value, _VALUE)
    try:
        return wording.clip(json.dumps(value, ensure_ascii=False), _VALUE)
    except (TypeError, ValueError):
        return wording.NOTHING


# --- time, tokens and cost


def _time(facts: RunFacts) -> Panel | None:
    """Seconds by stage and evaluation; tokens made or read there, and what was paid."""
    rows = [row for m in facts.models for row in _times(m)]
    if not rows:
        return None
    stages = [s for m in facts.models for s in m.stages]
    results = [r for m in facts.models for r in m.results.values()]
    totals = (
        wording.duration(sum(s.seconds or 0 for s in stages) + sum(r.seconds for r in results)),
        wording.count(sum(s.counts.get("tokens", 0) for s in stages)),
        wording.count(sum(r.cost for r in results)),
    )
    note = (
        "Wall time of the process that finished the stage. Tokens: generated, of trainings read. Cost: of served "
        "models, over all calls of the command, head to head and drift aside, in the currency of the price table."
    )
    columns = ("Model", "Stage", "Time", "Tokens", "Cost", "Finished")
    table = Grid("Time, tokens and cost", columns, (*rows, ("All", "", *totals, "")))
    return Panel("Time, tokens and cost", note, _time_chart(facts), table)


def _times(model: ModelFacts) -> Iterator[tuple[str, ...]]:
    for s in model.stages:
        resumed = " after resuming" if s.resumed else ""
        tokens = _known(s.counts.get("tokens"))
        yield model.name, s.name, wording.duration(s.seconds) + resumed, tokens, "", s.finished_at or ""
    for key, r in model.results.items():
        yield model.name, f"evaluation: {key}", wording.duration(r.seconds), "", wording.count(r.cost), ""


def _time_chart(facts: RunFacts) -> Chart | None:
    """One bar per model, the kinds of work in the order they are done."""
    spent: dict[tuple[str, str], float] = {}
    for m in facts.models:
        for s in m.stages:
            key = (_KINDS.get(s.name, "other stages"), m.name)
            spent[key] = spent.get(key, 0.0) + (s.seconds or 0.0)
        spent["evaluation", m.name] = sum(r.seconds for r in m.results.values())
    kinds = (*dict.fromkeys(_KINDS.values()), "other stages", "evaluation")
    bars = [
        {"label": m.name, "part": kind, "value": spent.get((kind, m.name), 0.0)}
        for m in facts.models
        for kind in kinds
        if any(spent.get((kind, name.name)) for name in facts.models)
    ]
    return Chart("bars", "Seconds by model and kind of work", bars, {"x": "seconds"}) if bars else None


def _known(value: float | None) -> str:
    return wording.NOTHING if value is None else wording.count(value)


# --- evaluations


def _evaluations(facts: RunFacts) -> Grid | None:
    """One row per result, and one per model without any."""
    rows: list[tuple[str, ...]] = []
    for m in facts.models:
        for key, r in m.results.items():
            judge = wording.clip(r.judge or wording.NOTHING, 80)
            rows.append(
                (
                    m.name,
                    r.fingerprint[:_HASH],
                    key,
                    judge,
                    r.config_hash[:_HASH],
                    _versions(r),
                    wording.count(r.incomplete),
                    wording.clip(r.chat_template or "the model's own", 80)
                    + (f", on {wording.clip(r.date, 20)}" if r.date else ""),
                )
            )
        if not m.results:
            weights = (m.fingerprint or wording.NOTHING)[:_HASH]
            rows.append((m.name, weights, "not evaluated", *[""] * 5))
    columns: tuple[str, ...] = ("Model", "Weights", "Benchmark", "Judge", "Settings", "Versions", "To be asked again")
    if any(r.chat_template or r.date for m in facts.models for r in m.results.values()):
        columns = (*columns, "Chat template")
    else:
        rows = [row[:-1] for row in rows]
    if len(versions := {row[5] for row in rows if row[5]}) == 1:
        columns = tuple(c for c in columns if c != "Versions")
        rows = [(*row[:5], *row[6:]) for row in rows]
    note = f"All with {versions.pop()}." if "Versions" not in columns else ""
    return Grid("Evaluations", columns, tuple(rows), note) if rows else None


def _versions(result: EvalResult) -> str:
    return ", ".join(f"{package} {version}" for package, version in result.versions.items())


def _conditions(key: str, results: Mapping[str, EvalResult]) -> Grid | None:
    """What the numbers of one benchmark must share to be compared, and whether they do."""
    names = list(dict.fromkeys(name for r in results.values() for name in r.comparability))
    rows = [
        (name, *_shared({m: r.comparability.get(name, "not stated") for m, r in results.items()})) for name in names
    ]
    rows.append(("settings (hash)", *_shared({m: r.config_hash for m, r in results.items()})))
    rows += [
        (comparability.setting_name(name), *_shared(values))
        for name, values in comparability.settings_apart(results).items()
    ]
    return Grid(f"{wording.title(key)} ({key})", ("Condition", "Value", "Shared"), tuple(rows)) if results else None


def _shared(values: Mapping[str, str]) -> tuple[str, str]:
    distinct = list(dict.fromkeys(values.values()))
    if len(distinct) == 1:
        return wording.clip(distinct[0], 200), f"by all {len(values)}" if len(values) > 1 else "one model"
    return "; ".join(f"{m}: {wording.clip(v, 80)}" for m, v in values.items()), "NO"


# --- hashes


def _hashes(markers: Sequence[Marker], facts: RunFacts) -> Grid | None:
    """Every file and checkpoint that stages passed on, and which stage made what another one read."""
    made = {digest: f"{m.model}/{m.stage}" for m in markers for digest in m.outputs.values()}
    made |= {m.fingerprint: f"{m.name} (base)" for m in facts.models if m.name == "M0" and m.fingerprint}
    rows = []
    for m in markers:
        stage = f"{m.model}/{m.stage}"
        rows += [
            (stage, "read", name, digest, made.get(digest, "outside the run")) for name, digest in m.inputs.items()
        ]
        rows += [(stage, "made", name, digest, "") for name, digest in m.outputs.items()]
    note = "BLAKE2b of the content, 128 bits; of a checkpoint, of its weights."
    return Grid("Hashes", ("Stage", "", "What", "Hash", "Made by"), tuple(rows), note) if rows else None
