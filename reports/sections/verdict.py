"""What the run shows, first of all: each question of this research answered, and the numbers that tell the story."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports import wording
from reports.facts import comparability, decision, glossary, matches, measures, published, questions, tables
from reports.facts.decision import Decision
from reports.facts.run import ModelFacts, RunFacts
from reports.facts.tables import Cell, Change
from reports.page import plots, rendering
from reports.page.section import Chart, Section

__all__ = ["build"]

_PANELS = 6  # of the picture, lengths aside


@dataclass(frozen=True)
class _Line:
    """One metric at a glance.

    Attributes:
        anchor: of the section that has the rest.
        n: of how many samples.
        chart: id of the small picture; empty where there is none.
        ends: the last model against M1, the baseline and M0.
        paper: what was published, in words.
        unlike: whether the numbers must not be compared.
    """

    benchmark: str
    anchor: str
    label: str
    n: str
    chart: str
    cells: tuple[Cell, ...]
    ends: tuple[Change, ...] = ()
    paper: str = ""
    unlike: bool = False
    term: str = ""

    @property
    def about(self) -> str:
        """What the metric means."""
        return glossary.definition(self.term)


@dataclass(frozen=True)
class _Made:
    """How one model came about, in a line."""

    name: str
    parent: str
    data: str
    weights: str


@dataclass(frozen=True)
class _Told:
    facts: RunFacts
    decision: Decision
    picture: str
    dashed: bool  # whether a baseline is drawn in it
    answers: list[questions.Sentence]
    made: list[_Made]
    models: list[str]
    ends: str
    lines: list[_Line]
    unlike: list[str]
    micro: bool


def build(runs: Sequence[RunFacts]) -> Section:
    """The section; see ``reports.page.section.Builder``."""
    charts: dict[str, Chart] = {}
    told = [_told(facts, i, charts) for i, facts in enumerate(runs)]
    body = rendering.render("verdict.html.j2", told=told, published_note=published.NOTE)
    return Section("verdict", "Verdict", body, charts)


def _told(facts: RunFacts, number: int, charts: dict[str, Chart]) -> _Told:
    names = [m.name for m in facts.evaluated]
    lines = [*_lines(facts, number, charts), *_match_lines(facts)]
    picture = plots.checkpoints(facts, *_main(facts))
    if picture is not None:
        charts[f"verdict-{number}-checkpoints"] = picture
    unlike = [
        f"{wording.title(key)}: {phrase}"
        for key in tables.benchmarks([facts])
        for phrase in comparability.unlike({m.name: m.results[key] for m in facts.models if key in m.results})
    ]
    return _Told(
        facts,
        decision.decide(facts),
        f"verdict-{number}-checkpoints" if picture is not None else "",
        picture is not None and any(row["level"] for row in picture.rows),
        questions.answers(facts),
        [_made(m, facts) for m in facts.models if facts.is_run],
        names,
        names[-1] if any(line.ends for line in lines) else "",
        lines,
        unlike,
        any(wording.title(key).endswith(wording.MICRO) for key in tables.benchmarks([facts])),
    )


def _main(facts: RunFacts) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What the picture shows: of each benchmark the measure that decides, and how models judge their own answers."""
    found, lengths = [], []
    for key in tables.benchmarks([facts]):
        there = tables.headline_metrics(facts, key)
        controlled = "length_controlled_winrate"
        main = [controlled] if controlled in there else there[:1]
        found += [(key, m) for m in dict.fromkeys([*main, *(m for m in there if m.startswith("own_"))])]
        lengths += [(key, metric)] if (metric := measures.length_metric(key)) else []
    return found[:_PANELS], lengths[:1]


# --- the numbers at a glance


def _lines(facts: RunFacts, number: int, charts: dict[str, Chart]) -> list[_Line]:
    sparks: dict[str, tuple[str, Chart]] = {}
    lines = list(_measured(facts, number, sparks))
    charts |= plots.on_one_scale(sparks)
    return lines


def _measured(facts: RunFacts, number: int, sparks: dict[str, tuple[str, Chart]]) -> Iterator[_Line]:
    for key in tables.benchmarks([facts]):
        found = {m.name: m.results[key] for m in facts.models if key in m.results}
        for metric in tables.headline_metrics(facts, key):
            name = f"verdict-{number}-{len(sparks)}"
            chart = plots.spark(facts, key, metric)
            if chart is not None:
                sparks[name] = (wording.info(key, metric).unit, chart)
            # the column is the last model's: one that has no result here is compared with nothing
            ends = _ends(list(found)) if facts.evaluated[-1].name in found else []
            compared = (tables.difference(facts, key, metric, a, b) for a, b in ends)
            yield _Line(
                wording.title(key).removesuffix(wording.MICRO),
                _anchor(key),
                wording.info(key, metric).label,
                _n(facts, key, metric),
                name if chart is not None else "",
                tuple(tables.metric_cell(facts, m, key, metric) for m in facts.evaluated),
                tuple(tables.change_of(d, facts) for d in compared if d is not None),
                published.line(key, metric),
                len(set(comparability.groups(found).values())) > 1,
                glossary.term_of(key, metric),
            )


def _ends(names: Sequence[str]) -> list[tuple[str, str]]:
    """The last model with M1, with the baselines, and with M0."""
    iterations = tables.iterations(names)
    others = [n for n in names if n not in iterations and n != "M0"] if iterations else []
    earlier = [*iterations[:1], *others, *(n for n in names if n == "M0")]
    return [(names[-1], n) for n in earlier if n != names[-1]]


def _anchor(key: str) -> str:
    family = wording.family(key)
    return family if family in ("quality", "alpaca-eval", "mt-bench", "nlp", "judge-accuracy") else "benchmarks"


def _n(facts: RunFacts, key: str, metric: str) -> str:
    totals = {
        m.results[key].metrics[metric].n_total
        for m in facts.models
        if key in m.results and metric in m.results[key].metrics
    }
    return f"n = {' / '.join(f'{n:,}' for n in sorted(totals))}"


def _match_lines(facts: RunFacts) -> Iterator[_Line]:
    """Each model's win rate against the SFT baseline, or against the first iteration."""
    order = matches.names(facts)
    against = next((n for n in order if n != "M0" and not tables.iterations([n])), None) or next(iter(order), None)
    if against is None or len(order) < 2:
        return
    found = {n: matches.match(facts, n, against) for n in order}
    cells = [matches.win_rate_cell(found.get(m.name)) for m in facts.evaluated]
    prompts = max((p.n_prompts for p in matches.pairs(facts)), default=0)
    last = [matches.match(facts, a, b) for a, b in _ends(order)]
    yield _Line(
        "Head to head",
        "head-to-head",
        f"Win rate against {against} (tie = ½)",
        f"n = {prompts:,} prompts",
        "",
        tuple(cells),
        tuple(matches.win_rate_change(m) for m in last if m is not None and m.win_rate is not None),
        published.match_line(against),
    )


# --- what was trained


def _made(model: ModelFacts, facts: RunFacts) -> _Made:
    counts = {s.name: s.counts for s in model.stages if s.status == "done"}
    parts = []
    if n := counts.get("ift", {}).get("examples"):
        parts.append(f"{n:,.0f} instruction examples")
    if n := counts.get("eft", {}).get("examples"):
        parts.append(f"{n:,.0f} judging examples")
    if (n := counts.get("pairs", {}).get("pairs")) is not None:
        prompts = counts["pairs"].get("prompts")
        parts.append(f"{n:,.0f} preference pairs" + (f" from {prompts:,.0f} prompts" if prompts else ""))
    if n := counts.get("rehearsal", {}).get("examples"):
        people = counts["rehearsal"].get("of_people", 0)
        parts.append(f"{n:,.0f} rehearsed judgments" + (f" ({people:,.0f} of human seed data)" if people else ""))
    if not parts and (n := counts.get("train", {}).get("records")):
        parts.append(f"{n:,.0f} examples")
    begun = [s.name for s in model.stages if s.status == "partial"]
    data = " + ".join(parts) or ("the base model" if model.name == "M0" else "not said")
    return _Made(
        model.name,
        model.parent or (facts.settings.get("base", "") if model.name == "M0" else ""),
        data + (f"; {wording.listing(begun)} begun, not finished" if begun else ""),
        (model.fingerprint or "")[:8],
    )
