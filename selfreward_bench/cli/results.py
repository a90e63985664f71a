"""What a run came to: its verdict and its main tables. Model names and reasons are text, never markup or commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from reports import wording
from reports.facts import comparability, decision, matches, questions, tables
from reports.facts.run import RunFacts
from reports.facts.tables import Cell, Change, ResultTable
from selfreward_bench.cli.console import Columns

_STYLES: Final = {"better": "green", "worse": "red", "neutral": "", "mixed": "yellow", "unknown": "dim"}
_ROLES: Final = {"previous", "first"}  # of the models that a model is held against


def results(facts: RunFacts) -> Iterator[RenderableType]:
    """Verdict, the few metrics that tell the story, and head to head."""
    yield from _verdict(facts)
    if (highlights := tables.highlights(facts)).rows:
        yield ""
        yield _metrics(highlights)
    yield from (Text.assemble(("Not comparable: ", "bold yellow"), _clean(phrase)) for phrase in _unlike(facts))
    if matches.pairs(facts):
        yield ""
        yield from _matches(facts)
    yield from (Text.assemble(("Missing: ", "yellow"), _clean(gap)) for gap in facts.gaps)


def _verdict(facts: RunFacts) -> Iterator[RenderableType]:
    """The questions of this research, answered, with the numbers behind each answer."""
    decided = decision.decide(facts)
    yield Text(_clean(decided.text), f"bold {_STYLES[decided.tone]}".strip())
    for place in decided.ranking:
        yield Padding.indent(Text(_clean(f"{place.rank}. {place.model} {place.value}")), 2)
    for said in questions.answers(facts):
        word = (f"{said.word}.", _STYLES[said.tone])
        yield Text.assemble((f"{said.question} ", "bold"), word, f" {_clean(said.answer)}")
        for e in said.evidence:
            yield Padding.indent(Text(_clean(e.text), "" if e.change.arrow else "dim"), 2)


def _metrics(source: ResultTable) -> Columns:
    """A line per metric and model; a model's further differences have lines of their own."""
    table = Columns(("MODEL", "VALUE", "95% INTERVAL", "DIFFERENCE", "SCORED"), right=(1, 4), whole=(2, 3))
    for row in source.rows:
        table.section(Text(_clean(row.label), "bold"))
        for model, cell in zip(source.models, row.cells, strict=True):
            first, *more = [*_changes(cell), Text()]
            table.add(_clean(model), cell.value, Text(cell.interval, "dim"), first, Text(cell.scored, "dim"))
            for change in more[:-1]:
                table.add("", "", "", change, "")
    return table


def _changes(cell: Cell) -> Iterable[Text]:
    for change in cell.changes:
        if not change.roles or _ROLES.intersection(change.roles):
            yield Text.assemble((f"vs {_clean(change.against)} ", "dim"), (change.text, _STYLES[change.tone]))


def _unlike(facts: RunFacts) -> Iterable[str]:
    for key in tables.benchmarks([facts]):
        found = {m.name: m.results[key] for m in facts.models if key in m.results}
        for phrase in comparability.unlike(found):
            yield f"{wording.title(key)}, {phrase}"


def _matches(facts: RunFacts) -> Iterator[RenderableType]:
    """All pairs of models, the latest first."""
    source = matches.grid(facts)
    rows = [[_text(cell) for cell in row] for row in source.rows]
    yield Text(_clean(f"Head to head (judge: {matches.judge_of(facts)})"), "bold")
    yield Columns([name.upper() for name in source.columns], rows, right=(2, 3, 4, 5), whole=(1,), heads=1)
    yield Text(source.note, "dim")


def _text(cell: str | Cell | Change) -> Text:
    if isinstance(cell, Change):
        return Text(cell.text, _STYLES[cell.tone])
    return Text(_clean(cell if isinstance(cell, str) else f"{cell.value} {cell.interval}"))


def _clean(text: str) -> str:
    return wording.visible(wording.clip(text, 500)).replace("\t", " ")
