"""The same facts as tables in the terminal. Model names and reasons are text, never markup or terminal commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from reports import wording
from reports.facts import comparability, matches, questions, tables
from reports.facts.questions import Sentence
from reports.facts.run import ModelFacts, RunFacts
from reports.facts.tables import Cell, Change, Grid, ResultTable

__all__ = ["grid", "results", "status", "verdict"]

_STYLES: Final = {"better": "green", "worse": "red", "neutral": "", "mixed": "yellow", "unknown": "dim"}
_STATUS_BENCHMARKS: Final = 4  # columns of `status`


def results(facts: RunFacts, *, full: bool = False) -> Group:
    """Verdict, results and head to head of a run.

    Args:
        full: all metrics of all benchmarks rather than the few that tell the story.
    """
    parts: list[RenderableType] = [verdict(facts)]
    chosen = tables.results(facts) if full else [tables.highlights(facts)]
    parts += [_results_table(t, ("previous", "first") if not full else tables.ROLES) for t in chosen if t.rows]
    parts += [Text.assemble(("Not comparable: ", "bold yellow"), _clean(phrase)) for phrase in _unlike(facts)]
    if matches.pairs(facts):
        parts.append(grid(matches.grid(facts), f"Head to head (judge: {matches.judge_of(facts)})"))
    parts += [Text.assemble(("Missing: ", "yellow"), _clean(gap)) for gap in facts.gaps]
    return Group(*parts)


def verdict(facts: RunFacts) -> Group:
    """The questions of this research, answered, with the numbers behind each answer."""
    return Group(*(line for s in questions.answers(facts) for line in _sentence(s)))


def _sentence(said: Sentence) -> Iterable[Text]:
    yield Text.assemble((f"{said.question} ", "bold"), (f"{said.word}.", _STYLES[said.tone]), f" {_clean(said.answer)}")
    for e in said.evidence:
        yield Text(f"  {_clean(e.text)}", "" if e.change.arrow else "dim")


def _unlike(facts: RunFacts) -> Iterable[str]:
    for key in tables.benchmarks([facts]):
        found = {m.name: m.results[key] for m in facts.models if key in m.results}
        for phrase in comparability.unlike(found):
            yield f"{wording.title(key)}, {phrase}"


def status(runs: Sequence[RunFacts]) -> Table:
    """One line per model of each run: how far it is, what it was trained on, how good it is."""
    shown = [
        (key, metrics[0])
        for key in tables.benchmarks(runs)[:_STATUS_BENCHMARKS]
        if (metrics := [m for facts in runs for m in tables.headline_metrics(facts, key)])
    ]
    table = Table(title="Runs", title_justify="left")
    for name in ("Run", "Model", "Stages", "Pairs"):
        table.add_column(name, overflow="fold")
    for key, metric in shown:
        title = wording.title(key).removesuffix(wording.MICRO)
        table.add_column(_text(f"{title}: {wording.info(key, metric).label}"), overflow="fold")
    for facts in runs:
        if not facts.models:
            table.add_row(_text(facts.name), Text("no model yet", "dim"))
        for i, model in enumerate(facts.models):
            table.add_row(_text(facts.name if i == 0 else ""), *_model_columns(model, shown))
    return table


def _model_columns(model: ModelFacts, shown: Iterable[tuple[str, str]]) -> list[Text]:
    begun = [s.name for s in model.stages if s.status == "partial"]
    done = sum(s.status == "done" for s in model.stages)
    stages = f"{done} done" + (f", {', '.join(begun)} begun" if begun else "")
    return [
        _text(model.name),
        _text(stages),
        Text(wording.NOTHING if model.n_pairs is None else f"{model.n_pairs:,}"),
        *(_metric(model, key, metric) for key, metric in shown),
    ]


def _metric(model: ModelFacts, benchmark: str, metric: str) -> Text:
    if benchmark in model.failures:
        return Text("failed", "red")
    found = model.results[benchmark].metrics.get(metric) if benchmark in model.results else None
    return Text(wording.number(found.value if found else None, wording.info(benchmark, metric).unit))


def _results_table(source: ResultTable, roles: Sequence[str]) -> Table:
    judge = _text(f"Judge: {source.judge}") if source.judge else None
    table = Table(title=_text(source.title), title_justify="left", caption=judge, caption_justify="left")
    table.add_column("Metric", overflow="fold")
    for model in source.models:
        table.add_column(_text(model), justify="left")
    for row in source.rows:
        table.add_row(_text(row.label), *(_cell(c, roles) for c in row.cells))
    return table


def grid(source: Grid, title: str = "") -> Table:
    """A table of texts."""
    table = Table(title=_text(title or source.title), title_justify="left", caption=_text(source.note) or None)
    for name in source.columns:
        table.add_column(_text(name), overflow="fold")
    for row in source.rows:
        table.add_row(*(_any_cell(c) for c in row))
    return table


def _any_cell(cell: str | Cell | Change) -> Text:
    if isinstance(cell, Cell):
        return _cell(cell)
    return Text(cell.text, _STYLES[cell.tone]) if isinstance(cell, Change) else _text(cell)


def _cell(cell: Cell, roles: Sequence[str] = tables.ROLES) -> Text:
    text = Text.assemble((cell.value, "bold"), (f" {cell.interval}" if cell.interval else "", "dim"))
    for change in (c for c in cell.changes if not c.roles or set(c.roles) & set(roles)):
        text.append(f"\nvs {_clean(change.against)} ", "dim")
        text.append(change.text, _STYLES[change.tone])
    if cell.scored:
        text.append(f"\n{cell.scored} scored", "dim")
    return text


def _clean(text: str) -> str:
    return wording.visible(wording.clip(text, 500)).replace("\t", " ")


def _text(value: str) -> Text:
    return Text(_clean(value))
