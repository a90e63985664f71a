"""Finished AlpacaEval files: outputs to be judged, and annotations, whose preferences are scored as they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from leaderboards.alpaca_eval import files
from leaderboards.alpaca_eval.annotators import Annotator, LogprobVerdict, load_annotator, switched
from leaderboards.alpaca_eval.files import Annotation, Instruction, ModelOutput
from leaderboards.alpaca_eval.judging import first_token_verdict
from leaderboards.alpaca_eval.scores import LengthModel, Pair, score
from leaderboards.base import Outcome
from selfreward_bench.errors import DataError, SrbenchError
from selfreward_bench.models.candidates import choose_model
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Metric

__all__ = ["Given", "read_given", "score_annotations"]

R = TypeVar("R", ModelOutput, Annotation)

_REFERENCE: Final = "GPT-4 Turbo (gpt4_1106_preview)"
_MOST: Final = 0.9  # of the reference's texts; a few may have been mended
_SAME_PREFERENCE: Final = 1e-6  # stored preferences are rounded to ten digits


@dataclass(frozen=True, slots=True)
class Given:
    """An answer as it was given: its text, whether it was cut (None: not known), and why there is none."""

    text: str | None
    cut: bool | None = None
    reason: str | None = None
    failed: bool = False


def read_given(
    path: Path, tasks: Sequence[Instruction], model: str | None = None
) -> tuple[dict[str, Given], dict[str, Metric]]:
    """The outputs of a file, by the instruction's id, and how many of its rows are repeats or on other instructions.

    Args:
        model: whose outputs (``generator``), where the file holds those of several.

    Raises:
        DataError: the file cannot be used.
    """
    rows = _of_model(path, files.read_outputs(path), lambda r: r.generator, model)
    found = {t.id: rows.get(t.key) for t in tasks}
    given = {
        name: Given(None, reason="no_answer") if r is None or r.output is None else Given(r.output)
        for name, r in found.items()
    }
    return given, _left_out(path, rows, tasks)


def _of_model(
    path: Path, rows: Sequence[R], generator: Callable[[R], str], model: str | None
) -> dict[tuple[str, int], R]:
    """The rows of one model, by instruction.

    Raises:
        DataError: there are several models, and none of them is named.
    """
    names = {generator(r) for r in rows}
    if model is not None or len(names - {""}) > 1:
        chosen = choose_model(path, names, model, exact=True)
        rows = [r for r in rows if generator(r) == chosen]
    return files.by_instruction(rows)


def _left_out(path: Path, rows: Collection[tuple[str, int]], tasks: Sequence[Instruction]) -> dict[str, Metric]:
    """How many rows of a file are not scored: on no instruction that is asked for, or on one that was there before.

    Raises:
        DataError: all are.
    """
    texts = {t.text for t in tasks}
    others = sum(text not in texts for text, _ in rows)
    if others == len(rows):
        raise DataError(
            f"{path}: none of its {len(rows):,} instructions is one of AlpacaEval's. Outputs are found by instruction, "
            "which must be AlpacaEval's to the letter."
        )
    counts = {"other_instructions": others, "repeated_instructions": len(set(rows) - {t.key for t in tasks}) - others}
    return {name: Metric(value=n, n_scored=len(rows), n_total=len(rows)) for name, n in counts.items() if n}


# --- annotations


def score_annotations(
    path: Path,
    tasks: Sequence[Instruction],
    lengths: LengthModel,
    model: str | None = None,
    published: Callable[[Sequence[str]], Sequence[float]] | None = None,
) -> Outcome:
    """The numbers of somebody's ``annotations.json``. Nobody is asked anything.

    Its rows bring their own reference outputs. Where they keep the judge's log-probabilities, the preference they claim
    is checked against these (``agrees_with_raw``).

    Args:
        model: whose (``generator_2``), where the file holds those of several.
        published: names of a model -> its published weights, where they tell the length control's strength.

    Raises:
        DataError: the file cannot be used.
    """
    rows = _of_model(path, files.read_annotations(path), lambda r: r.generator_2, model)
    reference = _other_reference(rows, tasks)
    if reference:
        lengths = replace(lengths, refused=f"difficulties and baselines are of {_REFERENCE}, not of {reference}")
    elif published is not None:
        named = dict.fromkeys(r.generator_2 for r in rows.values() if r.generator_2 not in ("", "example"))
        whose = [*named, *_folders(path)]
        lengths = replace(lengths, published=published(whose))
    extra = _left_out(path, rows, tasks)
    names = sorted({r.annotator or "unknown" for r in rows.values()})
    annotator = _annotator_of(names)
    pairs = [_annotated_pair(t, rows.get(t.key), annotator) for t in tasks]
    scores = score(pairs, lengths)
    judges = ", ".join(names)
    comparability = {
        "judge": judges,
        "snapshot": "as the file says",
        "annotator": judges,
        "parameters": "finished annotations",
        "order": "as the file has it",
        "reference": hash_json([p.reference for p in pairs]),
        "data": hash_json([t.text for t in tasks]),
        "length_control": lengths.formula,
    }
    told = f"{judges} (finished annotations{f', against {reference}' if reference else ''})"
    notes = (f"the reference is {reference}, not {_REFERENCE}",) if reference else ()
    return Outcome(
        scores.rows,
        told,
        scores.metrics | extra,
        comparability,
        replicates=scores.replicates,
        notes=(*notes, *scores.notes),
    )


def _other_reference(rows: Mapping[tuple[str, int], Annotation], tasks: Sequence[Instruction]) -> str:
    """Whose answers were the reference, where they are not those of the benchmark's, by name or by text."""
    joined = [(t, r) for t in tasks if (r := rows.get(t.key)) is not None]
    same = sum(
        _plain(t.reference_by) == _plain(r.generator_1) or t.reference.strip() == r.output_1.strip() for t, r in joined
    )
    if same >= _MOST * len(joined):
        return ""
    names = Counter(r.generator_1 or "an unnamed model" for _, r in joined)
    return ", ".join(name for name, _ in names.most_common(3))


def _plain(name: str) -> str:
    """``gpt-4-1106-preview`` and ``gpt4_1106_preview`` are one."""
    return "".join(filter(str.isalnum, name)).casefold()


def _folders(path: Path) -> list[str]:
    """Names of the folders above, where leaderboards keep a model's."""
    return [folder.name for folder in path.resolve().parents[:3]]


def _annotator_of(names: Sequence[str]) -> Annotator | None:
    """The annotator of a file, where it is one that is known."""
    try:
        return load_annotator(names[0]) if len(names) == 1 else None
    except SrbenchError:
        return None


def _annotated_pair(task: Instruction, found: Annotation | None, annotator: Annotator | None) -> Pair:
    win, reason = (None, "no_annotation") if found is None else _win(found.preference)
    measures: dict[str, float | None] = {}
    verdict = annotator.verdict if annotator else None
    if found is not None and annotator is not None:
        measures["quotes_judge_prompt"] = float(annotator.quoted_in(found.output_2))
    if found is not None and win is not None and isinstance(verdict, LogprobVerdict) and not verdict.last:
        again = first_token_verdict(found.raw_completion, verdict, "ba" if switched(task.text) else "ab")
        if again is not None:
            measures["agrees_with_raw"] = float(abs(again - win) < _SAME_PREFERENCE)
    return Pair(
        id=task.id,
        category=task.dataset,
        instruction=task.text,
        reference=task.reference if found is None else found.output_1,
        answer=None if found is None else found.output_2,
        win=win,
        reason=reason,
        position=task.position,
        difficulty=task.difficulty,
        measures=measures,
    )


def _win(preference: float | None) -> tuple[float | None, str | None]:
    """AlpacaEval's preference, 1..2, as 0..1; 0 is an old way to write a draw."""
    if preference is None:
        return None, "no_verdict"
    if preference == 0:
        return 0.5, None
    return (preference - 1, None) if 1 <= preference <= 2 else (None, "out_of_range")
