"""The same facts as tables in the terminal. Model names and reasons are text, never markup or terminal commands."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from reports import tables, wording
from reports.facts import ModelFacts, RunFacts
from reports.tables import Cell, ResultTable

__all__ = ["results", "status"]

_STYLES = {"better": "green", "worse": "red", "neutral": "", "unknown": "dim"}


def results(facts: RunFacts, *, full: bool = False) -> Group:
    """Verdict, results and head to head of a run.

    Args:
        full: all metrics of all benchmarks rather than the few that tell the story.
    """
    parts: list[RenderableType] = [
        Text.assemble((f"{s.question} ", "bold"), (_clean(s.answer), _STYLES[s.tone])) for s in wording.verdict(facts)
    ]
    chosen = tables.results(facts) if full else [tables.highlights(facts)]
    parts += [_results_table(t) for t in chosen if t.rows]
    if matches := tables.head_to_head(facts):
        parts.append(_matches_table(matches))
    parts += [Text.assemble(("Missing: ", "yellow"), _clean(gap)) for gap in facts.gaps]
    return Group(*parts)


def status(runs: Iterable[RunFacts]) -> Table:
    """One line per model of each run: how far it is, what it was trained on, how good it is."""
    table = Table(title="Runs", title_justify="left")
    for name in ("Run", "Model", "Stages", "Pairs", "True quality", "Judge accuracy"):
        table.add_column(name, overflow="fold")
    for facts in runs:
        if not facts.models:
            table.add_row(_text(facts.name), Text("no model yet", "dim"))
        for i, model in enumerate(facts.models):
            table.add_row(_text(facts.name if i == 0 else ""), *_model_columns(model))
    return table


def _model_columns(model: ModelFacts) -> list[Text]:
    begun = [s.name for s in model.stages if s.status == "partial"]
    done = sum(s.status == "done" for s in model.stages)
    stages = f"{done} done" + (f", {', '.join(begun)} begun" if begun else "")
    return [
        _text(model.name),
        _text(stages),
        Text(wording.NOTHING if model.n_pairs is None else f"{model.n_pairs:,}"),
        _metric(model, wording.QUALITY, "quality_sampled"),
        _metric(model, wording.JUDGING, "pairwise_accuracy"),
    ]


def _metric(model: ModelFacts, benchmark: str, metric: str) -> Text:
    if benchmark in model.failures:
        return Text("failed", "red")
    found = model.results[benchmark].metrics.get(metric) if benchmark in model.results else None
    return Text(wording.number(found.value if found else None, wording.info(benchmark, metric).unit))


def _results_table(source: ResultTable) -> Table:
    judge = _text(f"Judge: {source.judge}") if source.judge else None
    table = Table(title=_text(source.title), title_justify="left", caption=judge, caption_justify="left")
    table.add_column("Metric", overflow="fold")
    for model in source.models:
        table.add_column(_text(model), justify="left")
    for label, cells in source.rows:
        table.add_row(_text(label), *(_cell(c) for c in cells))
    return table


def _cell(cell: Cell) -> Text:
    text = Text.assemble((cell.value, "bold"), (f" {cell.interval}" if cell.interval else "", "dim"))
    for change in cell.changes:
        text.append(f"\nvs {_clean(change.against)} ", "dim")
        text.append(f"{change.text} {change.arrow}".rstrip(), _STYLES[change.tone])
    if cell.scored:
        text.append(f"\n{cell.scored} scored", "dim")
    return text


def _matches_table(matches: Iterable[tuple[str, ...]]) -> Table:
    table = Table(title="Head to head (oracle; a tie counts half in the win rate)", title_justify="left")
    for name in ("Model", "against", "Win rate", "", "Wins", "Ties", "Losses", "Comparisons"):
        table.add_column(name)
    for match in matches:
        table.add_row(*(_text(part) for part in match))
    return table


def _clean(text: str) -> str:
    return wording.visible(wording.clip(text, 500)).replace("\t", " ")


def _text(value: str) -> Text:
    return Text(_clean(value))
