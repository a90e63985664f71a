"""Writes a checkpoint's results into its Hugging Face model card, with the hub's own classes and without its network.

Two places of ``README.md`` are srbench's: results of ``model-index`` whose dataset type begins with ``srbench/``, and
what stands between two marks in the text. Base model, licence and language are filled in where the card lacks them and
they are known. Everything else is kept; comments in the YAML block are lost, as the hub's classes do not know them.
Results belong to weights: only those evaluated with exactly these are written, and of each benchmark the numbers that
tell its story, so that a card stays a page or two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from leaderboards import descriptions
from leaderboards.comparing import OverSeeds, Together
from leaderboards.comparing.records import conditions
from leaderboards.standings import HeadToHead
from reports import wording
from reports.exports import card_origin
from reports.exports.escaping import line, markdown
from reports.facts import grouping, matches, tables
from reports.facts.run import RunFacts
from selfreward_bench import __version__
from selfreward_bench.errors import DataError
from selfreward_bench.storage.files import os_errors, write_atomic
from selfreward_bench.storage.model_files import model_fingerprint, weights_in
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import EvalResult, Metric

if TYPE_CHECKING:
    from huggingface_hub import EvalResult as CardResult
    from huggingface_hub import ModelCard, ModelCardData

__all__ = ["CARD", "Written", "matches_of", "results_of", "updated", "write"]

CARD: Final = "README.md"
BEGIN: Final = "<!-- srbench results: begin (replaced by `srbench report --model-card`) -->"
END: Final = "<!-- srbench results: end -->"

_OWN: Final = "srbench/"
_INDEX: Final = "model-index"
_MAX_BYTES: Final = 8 * 2**20
_HAS_BLOCK: Final = re.compile(r"\s*---(?:\r\n|\r|\n)")
_EMPTY_BLOCK: Final = "---\n\n---\n"
_NLP: Final = "nlp"
_MOST: Final = 12  # tasks of the NLP benchmarks
#: task -> lm-eval's name of the number that is its score
_OF_TASKS: Final = {
    **dict.fromkeys(("arc_easy", "arc_challenge", "hellaswag", "piqa", "openbookqa"), "acc_norm"),
    **dict.fromkeys(("siqa", "mmlu", "micro_choice"), "acc"),
    **dict.fromkeys(("gsm8k", "nq_open", "micro_sort", "micro_fact"), "exact_match"),
}


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a card.

    Attributes:
        path: where it is.
        missing: metadata that the hub asks for and nobody knows here.
    """

    path: Path
    missing: tuple[str, ...]


def write(runs: Sequence[RunFacts], checkpoint: Path, together: Together | None = None) -> Written:
    """Writes the card of a checkpoint; one that is not there is made.

    Args:
        together: several runs put together: the card tells what seeds of its own run's method come to.

    Raises:
        EngineError: the directory holds no checkpoint.
        DataError: no run has results of its weights, or the card cannot be read, mended or written.
    """
    fingerprint = model_fingerprint(checkpoint)
    results = results_of(runs, fingerprint)
    if not results:
        raise DataError(
            f"{wording.listing([facts.name for facts in runs])} has no results of the weights in {checkpoint}. "
            f"Evaluate them: srbench eval --checkpoint {checkpoint}; then give the directory the results are in."
        )
    path = checkpoint / CARD
    origin = card_origin.origin(_having(runs, fingerprint), checkpoint)
    content = updated(
        _read(path),
        results,
        str(path),
        matches_of(runs, fingerprint),
        origin.known,
        _over_seeds(runs, fingerprint, together),
    )
    write_atomic(path, content.encode())
    _check(_load(path), results, str(path))
    front = _parse(content, str(path))[1]
    return Written(path, tuple(key for key in origin.unknown if not front.get(key)))


def _having(runs: Sequence[RunFacts], fingerprint: str) -> list[tuple[RunFacts, str]]:
    """The runs that evaluated a model, and what they call it."""
    wanted = (fingerprint, weights_in(fingerprint))
    return [(f, m.name) for f in runs for m in f.models if any(r.fingerprint in wanted for r in m.results.values())]


def matches_of(runs: Sequence[RunFacts], fingerprint: str) -> list[HeadToHead]:
    """A model against the others of the first run that compared it, from its side."""
    for facts, name in _having(runs, fingerprint):
        others = [n for n in matches.names(facts) if n != name]
        if found := [p for n in others if (p := matches.match(facts, name, n)) is not None]:
            return found
    return []


def results_of(runs: Sequence[RunFacts], fingerprint: str) -> list[EvalResult]:
    """The results of a model, one per benchmark, of the first run that has it.

    Args:
        fingerprint: ``model_fingerprint``; results of early versions, which looked at weights alone, count.
    """
    found: dict[str, EvalResult] = {}
    for facts in runs:
        for model in facts.models:
            for key, result in model.results.items():
                if result.fingerprint in (fingerprint, weights_in(fingerprint)):
                    found.setdefault(key, result)
    return sorted(found.values(), key=lambda r: descriptions.place(r.benchmark))


def updated(
    content: str,
    results: Sequence[EvalResult],
    place: str = CARD,
    held: Sequence[HeadToHead] = (),
    known: Mapping[str, Any] | None = None,
    seeds: Sequence[str] = (),
) -> str:
    """A card's text with the results in it; what srbench wrote before is replaced.

    Args:
        place: what messages call the card.
        held: the model against others.
        known: metadata that are filled in where the card has none.
        seeds: lines on other seeds of the same method.

    Raises:
        DataError: its YAML block or its marks are damaged.
    """
    card, front = _parse(content, place)
    name = str(results[0].checkpoint) if results else "model"
    data = _data(card)
    data.eval_results = data.model_name = None  # passed through the hub's class, others' entries would lose fields
    told = dict(front) | {key: value for key, value in (known or {}).items() if not front.get(key)}
    for key, value in told.items():
        data[key] = value  # as it stands: the class makes tags unique, for one
    data[_INDEX] = _merged(front.get(_INDEX) or [], name, list(_card_results(results)))
    card.text = _with_block(card.text, _block(results, held, seeds), place)
    made = str(card)
    again, kept = _parse(made, place)
    _check(again, results, place)
    if {k: v for k, v in kept.items() if k != _INDEX} != {k: v for k, v in told.items() if k != _INDEX}:
        raise DataError(f"{place}: the YAML block cannot be written again as it was. It is left alone; simplify it.")
    return made


# --- reading


def _read(path: Path) -> str:
    if not path.exists():
        return ""
    with os_errors(path, "read"), path.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise DataError(f"{path} is larger than {_MAX_BYTES:,} bytes; it is no model card.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text. Save it as UTF-8.") from error


def _parse(content: str, place: str) -> tuple[ModelCard, Mapping[str, Any]]:
    """The card, and its YAML block as it stands."""
    import yaml
    from huggingface_hub import CardData, ModelCard, RepoCard

    whole = content if _HAS_BLOCK.match(content) else _EMPTY_BLOCK + content
    try:
        plain: CardData = RepoCard(whole).data
        return ModelCard(whole), plain.to_dict()  # type: ignore[no-untyped-call]  # the hub annotates only a part
    except (ValueError, TypeError, AttributeError, yaml.YAMLError, RecursionError) as error:
        raise DataError(
            f"{place}: the YAML block at its beginning cannot be used ({line(str(error))}). Mend it; nothing was "
            "changed."
        ) from error


def _load(path: Path) -> ModelCard:
    from huggingface_hub import ModelCard

    return cast(ModelCard, ModelCard.load(path))


def _data(card: ModelCard) -> ModelCardData:
    """The card's metadata; the hub's annotations know of their base class alone."""
    return cast("ModelCardData", card.data)


def _check(card: ModelCard, results: Sequence[EvalResult], place: str) -> None:
    """That the hub's classes read what was written."""
    wanted = [(r.dataset_type, r.metric_type, r.metric_value) for r in _card_results(results)]
    found = [(r.dataset_type, r.metric_type, r.metric_value) for r in _data(card).eval_results or ()]
    if lost := [w for w in wanted if w not in found]:
        raise DataError(f"{place}: the card does not read as it was written ({lost[0][0]}, {lost[0][1]}).")


# --- model-index


def _card_results(results: Sequence[EvalResult]) -> Iterator[CardResult]:
    from huggingface_hub import EvalResult as CardResult

    for result in results:
        stated = {
            "judge": line(result.judge) if result.judge else None,
            "comparability": hash_json(dict(conditions(result)))[:16],
            "srbench": result.versions.get("srbench", __version__),
        }
        for name, metric in _metrics(result):
            shown = wording.info(result.benchmark, name)
            yield CardResult(
                task_type="text-generation",
                dataset_type=f"{_OWN}{line(result.benchmark)}",
                dataset_name=line(wording.title(result.benchmark)),
                dataset_config=line(name) if _is_nlp(result) else None,
                dataset_args={k: v for k, v in stated.items() if v is not None},
                metric_type=_OF_TASKS.get(name, line(name)) if _is_nlp(result) else line(name),
                metric_name=line(shown.label),
                metric_value=metric.value,
                metric_args=_numbers(metric) | {"unit": shown.unit},
            )


def _is_nlp(result: EvalResult) -> bool:
    """Whether its metrics are tasks."""
    return wording.family(result.benchmark) == _NLP


def _metrics(result: EvalResult) -> Iterator[tuple[str, Metric]]:
    """The metrics that tell its story and have a value; of the NLP benchmarks the tasks."""
    there = [name for name, m in result.metrics.items() if m.value is not None and math.isfinite(m.value)]
    wanted: Iterable[str] = tables.headlines(result.benchmark, there)
    if _is_nlp(result):
        whole = [n for n in descriptions.in_table(result.benchmark, there) if "/" not in n and n != "truncated_prompts"]
        wanted = whole[:_MOST]
    yield from ((name, result.metrics[name]) for name in wanted)


def _numbers(metric: Metric) -> dict[str, float | int]:
    numbers = {"low": metric.low, "high": metric.high, "n_scored": metric.n_scored, "n_total": metric.n_total}
    return {k: v for k, v in numbers.items() if v is not None and math.isfinite(v)}


def _merged(stored: Any, name: str, own: list[CardResult]) -> list[dict[str, Any]]:
    """The index with our results in its first model; results of others stay as they are."""
    from huggingface_hub.repocard_data import eval_results_to_model_index

    made: dict[str, Any] = eval_results_to_model_index(name, own)[0]
    models = [{**m, "results": [r for r in m["results"] if not _is_own(r)]} for m in stored]
    if not models:
        return [made]
    models[0]["results"] = [*models[0]["results"], *made["results"]]
    return [m for m in models if m["results"]]


def _is_own(result: Mapping[str, Any]) -> bool:
    return str(result["dataset"]["type"]).startswith(_OWN)


# --- text


def _block(results: Sequence[EvalResult], held: Sequence[HeadToHead], seeds: Sequence[str]) -> str:
    lines = [BEGIN, "", "## Evaluation", ""]
    lines += ["| Benchmark | Judge | Metric | Value | 95% interval | Scored |", "|---|---|---|--:|---|--:|"]
    for result in results:
        who = f"{markdown(wording.title(result.benchmark))} | {markdown(result.judge or wording.NOTHING)}"
        lines += [_line(who, result.benchmark, name, metric) for name, metric in _metrics(result)]
    lines += ["", *_matches(held), *seeds]
    fingerprint = results[0].fingerprint if results else ""
    lines.append(
        f"Evaluated by srbench {markdown(__version__)} with the weights `{fingerprint[:32]}`; intervals are clustered "
        "by prompt. Numbers of unlike judges, prompts or data are not comparable. All numbers: `srbench report RUN "
        "--format csv`."
    )
    return "\n".join([*lines, "", END])


def _line(who: str, benchmark: str, name: str, metric: Metric) -> str:
    shown = wording.info(benchmark, name)
    value, interval = wording.number(metric.value, shown.unit), wording.interval(metric.low, metric.high, shown.unit)
    return f"| {who} | {markdown(shown.label)} | {value} | {interval} | {wording.scored(metric)} |"


def _matches(held: Sequence[HeadToHead]) -> list[str]:
    """The model against others, a line each."""
    if not held:
        return []
    lines = ["### Head to head", "", f"Judge: {markdown(wording.listing(list(dict.fromkeys(p.judge for p in held))))}"]
    lines += ["", "| Against | Win rate (tie = ½) | Win | Tie | Loss | Comparisons |", "|---|---|--:|--:|--:|--:|"]
    for p in held:
        shares = (wording.number(x, "share") for x in (p.win, p.tie, p.loss))
        scored = wording.scored(Metric(value=None, n_scored=p.n_scored, n_total=p.n_total))
        cells = (markdown(p.b), matches.win_rate_change(p).text, *shares, scored)
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _over_seeds(runs: Sequence[RunFacts], fingerprint: str, together: Together | None) -> list[str]:
    """What the model comes to over the seeds of its method, a line a metric."""
    named = _having(runs, fingerprint)
    groups = grouping.group(runs) if together is not None and named else []
    pooled = together.pooled if together is not None else ()
    for members, found in zip(groups, pooled, strict=False):
        mine = [o for o in found if not o.against and o.model == named[0][1]]
        if mine and any(facts is named[0][0] for facts in members.runs):
            of = f"{len(members.runs)} runs that differ in their seed alone ({markdown(members.label)})"
            how = "mean and standard deviation of the runs, and the 95% interval when seeds and prompts are drawn anew"
            lines = ["### Over seeds", "", f"{markdown(named[0][1])} of {of}: {how}.", ""]
            lines += ["| Benchmark | Metric | Mean ± sd | 95% interval | Prompts |", "|---|---|--:|---|--:|"]
            return [*lines, *map(_seeds_line, mine), ""]
    return []


def _seeds_line(over: OverSeeds) -> str:
    shown = wording.info(over.benchmark, over.metric)
    value = f"{wording.number(over.value, shown.unit)} ± {wording.number(over.sd, shown.unit).removesuffix(' %')}"
    interval = wording.interval(over.low, over.high, shown.unit)
    title = markdown(wording.title(over.benchmark))
    return f"| {title} | {markdown(shown.label)} | {value} | {interval} | {over.n_prompts:,} |"


def _with_block(text: str, block: str, place: str) -> str:
    """The block in the place of the one before, or at the end."""
    break_ = "\r\n" if "\r\n" in text else "\n"
    block = block.replace("\n", break_)
    marks = (text.count(BEGIN), text.count(END))
    if marks == (0, 0):
        before = text.rstrip()
        return f"{before}{break_ * 2 if before else break_}{block}{break_}"
    if marks != (1, 1) or text.index(BEGIN) > text.index(END):
        raise DataError(
            f"{place}: the marks around srbench's results are damaged. Remove the lines with `<!-- srbench results` "
            "and what is between them; nothing was changed."
        )
    return text[: text.index(BEGIN)] + block + text[text.index(END) + len(END) :]
