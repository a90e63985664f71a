"""Finished files held head to head: outputs become stored answers, annotations of a pair of models its verdicts.

Outputs are rows of ``instruction`` and ``output`` (AlpacaEval) or ``prompt`` and ``response``, found by the text of
the prompt. Annotations are AlpacaEval's, whose reference is then the other model: nobody is asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from leaderboards import chain, standings
from leaderboards.alpaca_eval.files import ANNOTATIONS, read_annotations
from leaderboards.alpaca_eval.files import recognise as recognise_alpaca
from leaderboards.head_to_head.answers import Entry, instruction_prompt, store_answers
from leaderboards.head_to_head.benchmark import HEAD_TO_HEAD, RULES, combined
from leaderboards.head_to_head.ratings import Comparison, bradley_terry, pair_result
from leaderboards.standings import Tournament
from selfreward_bench.errors import DataError
from selfreward_bench.judges.fencing import clean
from selfreward_bench.sources.rows import SUFFIXES, first_row, iterate_rows
from selfreward_bench.storage.rundir import hash_file, hash_json
from selfreward_bench.types import Completion, Prompt

__all__ = ["given_prompts", "holds_annotations", "holds_answers", "score_annotations", "store_given"]

_COLUMNS: Final = (("instruction", "output"), ("prompt", "response"))
_WHOSE: Final = ("generator", "model", "model_id")


def holds_answers(path: Path | None) -> bool:
    """Whether a file holds one model's answers to prompts; False for what cannot be read."""
    return _columns(path) is not None


def holds_annotations(path: Path | None) -> bool:
    """Whether a file holds preferences between two named models."""
    if path is None or not path.is_file():
        return False
    try:
        return recognise_alpaca(path) == ANNOTATIONS and bool(first_row(path).get("generator_1"))
    except DataError:
        return False


def given_prompts(path: Path, limit: int | None = None) -> list[Prompt]:
    """The prompts that a file of outputs answers, each once, the first ``limit`` of them."""
    found: dict[str, Prompt] = {}
    for text, _ in _answers(path, None):
        prompt = instruction_prompt(text, path.name)
        found.setdefault(prompt.id, prompt)
    return list(found.values())[:limit]


def store_given(
    path: Path, prompts: Sequence[Prompt], folder: Path, name: str, fingerprint: str, model: str | None
) -> Entry:
    """A file's outputs as the answers of a model, for ``HeadToHead.hold``.

    Args:
        model: whose, where the file holds those of several.

    Raises:
        DataError: the file cannot be read, or answers none of the prompts.
    """
    by_text = {prompt.text: prompt.id for prompt in prompts}
    texts: dict[str, str] = {}
    for text, answer in _answers(path, model):
        if (name_of := by_text.get(clean(text))) is not None and answer is not None:
            texts.setdefault(name_of, clean(answer))
    if not texts:
        raise DataError(
            f"{path} answers none of the {len(prompts):,} prompts, which are found by their text to the letter. Give "
            "outputs on the same prompts, or name the prompts: --benchmarks head-to-head:FILE."
        )
    answers = [
        Completion(prompt_id=i, index=0, text=text, n_tokens=0, finish_reason="stop", seed=0)
        for i, text in texts.items()
    ]
    return store_answers(folder, name, fingerprint, prompts, answers, settings=hash_json("finished outputs"))


def _columns(path: Path | None) -> tuple[str, str] | None:
    if path is None or not path.name.endswith(SUFFIXES) or not path.is_file():
        return None
    try:
        there = set(first_row(path))
    except DataError:
        return None
    return next((pair for pair in _COLUMNS if set(pair) <= there), None)


def _answers(path: Path, model: str | None) -> Iterator[tuple[str, str | None]]:
    columns = _columns(path)
    if columns is None:
        raise DataError(f"{path} holds no outputs: rows of instruction and output, or of prompt and response.")
    for row in iterate_rows(path):
        text, answer = (row.values.get(column) for column in columns)
        whose = next((row.values[column] for column in _WHOSE if row.values.get(column)), None)
        if isinstance(text, str) and text.strip() and (model is None or whose == model):
            yield text, answer if isinstance(answer, str) else None


# --- annotations


def score_annotations(paths: Sequence[Path], directory: Path) -> Tournament:
    """All pairs of models that finished annotations compare, written to ``head_to_head.json``.

    A pair that was annotated in both roles, each model once as the reference, has both orders of each prompt put
    together (``agree``). Where it was annotated once, the annotator's coin drew the order.

    Raises:
        DataError: a file cannot be read.
    """
    said, judges, fingerprints = _preferences(paths)
    names = list(chain.in_turn(fingerprints))
    scored = [
        Comparison(a, b, prompt, combined(points, "agree") if points else None, None if points else "no_verdict")
        for (a, b, prompt), points in _as_pairs(said, names).items()
    ]
    judge, anchor = f"{', '.join(sorted(judges))} (finished annotations)", chain.anchor(names) or names[0]
    comparability = {"judge": judge, "order": "as the files have it", "data": hash_json(sorted({p for *_, p in said}))}
    of: dict[tuple[str, str], list[Comparison]] = defaultdict(list)
    for comparison in scored:
        of[comparison.a, comparison.b].append(comparison)
    table = bradley_terry(names, scored, anchor=anchor)
    pairs = tuple(
        pair_result(a, b, found, benchmark=HEAD_TO_HEAD, judge=judge, comparability=comparability)
        for (a, b), found in of.items()
    )
    result = Tournament(
        benchmark=HEAD_TO_HEAD,
        checkpoints={name: fingerprints[name] for name in names},
        judge=judge,
        rule=f"agree: {RULES['agree']}, where a pair was annotated in both roles",
        anchor=anchor,
        n_prompts=len({prompt for *_, prompt in said}),
        pairs=pairs,
        ratings=table.ratings,
        comparability=comparability,
        notes=tuple(table.notes),
    )
    directory.mkdir(parents=True, exist_ok=True)
    standings.write_record(directory / standings.TOURNAMENT, result)
    return result


Said = dict[tuple[str, str, str], list[float]]


def _preferences(paths: Sequence[Path]) -> tuple[Said, set[str], dict[str, str]]:
    """(model, reference, prompt) -> preferences for the model, 0 to 1; who judged; the models, each with a hash.

    Raises:
        DataError: a file cannot be read, or several annotators judge one pair of outputs.
    """
    said: Said = defaultdict(list)
    judges: dict[tuple[frozenset[str], str], str] = {}
    models: dict[str, str] = {}
    for path in paths:
        for row in read_annotations(path):
            model, reference = row.generator_2 or path.stem, row.generator_1 or "reference"
            found = said[model, reference, row.instruction]
            if row.preference is not None and (row.preference == 0 or 1 <= row.preference <= 2):
                found.append(0.5 if row.preference == 0 else row.preference - 1)
            judge = row.annotator or "unknown"
            first = judges.setdefault((frozenset({model, reference}), row.instruction), judge)
            if first != judge:
                raise DataError(
                    f"{path}: {first[:100]!r} and {judge[:100]!r} judge the same outputs. Give the annotations of one."
                )
            models.setdefault(model, hash_file(path))
            models.setdefault(reference, hash_json(reference))
    return said, set(judges.values()), models


def _as_pairs(said: Said, names: Sequence[str]) -> Mapping[tuple[str, str, str], list[float]]:
    """From the side of the later model of each pair."""
    place = {name: number for number, name in enumerate(names)}
    found: Said = defaultdict(list)
    for (model, reference, prompt), points in said.items():
        if place[model] > place[reference]:
            found[model, reference, prompt] += points
        elif model != reference:
            found[reference, model, prompt] += [1 - p for p in points]
    return found
