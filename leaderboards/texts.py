"""The texts behind a benchmark's rows, as columns: what was asked and answered, and what the judge said.

A row of ``scores.jsonl`` keeps the beginning of its texts. Whole answers and judgments are in files beside it, from
which they are read line by line, as far as they belong to a row. A damaged line is no text; it stops nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from leaderboards.standings import MATCHES, Tournament, short_names
from selfreward_bench.storage import jsonl
from selfreward_bench.types import SampleScore

__all__ = ["MAX_TEXT", "matches", "texts"]

MAX_TEXT: Final = 20_000  # characters of one text
_MAX_DETAILS: Final = 40  # of one row

Line = Mapping[str, Any]
Column = str | int | float | None


@dataclass(frozen=True, slots=True)
class _File:
    """A file of texts; ``place`` gives a line's sample and column."""

    name: str
    place: Callable[[Line], tuple[str, str]]


def _answer(sample: str) -> Callable[[Line], tuple[str, str]]:
    return lambda line: (sample.format(line.get("prompt_id"), line.get("index")), "answer")


def _by_order(line: Line) -> tuple[str, str]:
    return str(line.get("prompt_id")), f"judgment_{line.get('order')}"


def _of_turn(line: Line) -> tuple[str, str]:
    """MT-Bench's judge: ``QUESTION/TURN``, or with an order; ``~1`` is the second time it was asked."""
    found = re.fullmatch(r"(.*?)(?:/(ab|ba))?(?:~\d+)?", str(line.get("prompt_id")), re.DOTALL)
    sample, order = found.groups() if found else ("", None)
    return sample, f"judgment_{order}" if order else "judgment"


def _of_response(prefix: str) -> Callable[[Line], tuple[str, str]]:
    """Pointwise judges are asked several times, pairwise ones in both orders."""

    def place(line: Line) -> tuple[str, str]:
        of, order, sample = f"{line.get('prompt_id')}/{line.get('index')}", line.get("order"), line.get("sample")
        if order is not None:
            return f"pair/{of}", f"judgment_{order}"
        return f"{prefix}{of}", f"judgment_{sample + 1 if isinstance(sample, int) else 1}"

    return place


#: of all other benchmarks: an answer belongs to the sample that is called as its prompt
_OTHERS: Final = (_File("answers.jsonl", _answer("{}")),)
#: a benchmark's name, that of its micro-world version too -> its files of whole texts, the last text of a place counts
_FILES: Final[dict[str, tuple[_File, ...]]] = {
    "quality": (_File("answers.jsonl", _answer("sampled/{}/{}")), _File("greedy.jsonl", _answer("greedy/{}/{}"))),
    "alpaca-eval": (_File("answers.jsonl", _answer("{}")), _File("judgments.jsonl", _by_order)),
    "mt-bench": (
        _File("turn-1.jsonl", _answer("{}")),
        _File("turn-2.jsonl", _answer("{}")),
        _File("judge.jsonl", _of_turn),
    ),
    "judge-accuracy": (
        _File("own-answers.jsonl", _answer("own_response/{}/{}")),
        _File("own-judgments.jsonl", _of_response("own_response/")),
        _File("judgments.jsonl", _of_response("response/")),
    ),
}


def texts(folder: Path, benchmark: str, rows: Sequence[SampleScore]) -> dict[str, dict[str, Column]]:
    """Sample id -> its texts, and what else a row tells besides its measures.

    Args:
        folder: the benchmark's directory of one model.
        rows: all that is held in memory, with at most `MAX_TEXT` characters of each text.
    """
    found = {r.sample_id: dict(islice(_details(r.detail), _MAX_DETAILS)) for r in rows}
    name = short_names(benchmark)[1]
    for file in _FILES.get("judge-accuracy" if name.startswith("judge-accuracy") else name, _OTHERS):
        for line in _lines(folder / file.name):
            sample_id, column = file.place(line)
            text = line.get("text", line.get("raw"))
            if isinstance(text, str) and sample_id in found:
                found[sample_id][column] = _bounded(text)
    return found


# --- head to head


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    cut: bool


def matches(root: Path, tournament: Tournament) -> Iterator[dict[str, Column]]:
    """A row per pair of models, prompt and order asked: both answers and what the judge said.

    ``value`` is the first model's share of the win in that order; ``order`` is ``ab`` where its answer was shown first.
    """
    answers = {name: dict(_answers(root, name)) for name in tournament.checkpoints}
    prompts = {str(line.get("id")): _prompt(line) for line in _lines(root / MATCHES / "prompts.jsonl")}
    cut_counts = tournament.comparability.get("truncated") != "not scored"
    said: dict[tuple[str, ...], dict[str, Line]] = {}
    for line in _lines(root / MATCHES / "comparisons.jsonl"):
        said.setdefault(tuple(str(line.get(k)) for k in ("a", "b", "prompt_id")), {})[str(line.get("order"))] = line
    for pair in tournament.pairs:
        for prompt_id, prompt in prompts.items():
            both = [answers.get(name, {}).get(prompt_id) for name in (pair.a, pair.b)]
            stored = dict(_from_the_side_of_a(said, pair.a, pair.b, prompt_id))
            for verdict in _verdicts(both, stored, cut_counts):
                row = {"checkpoint": pair.a, "against": pair.b, "sample_id": prompt_id, **verdict, "prompt": prompt}
                texts = (a.text if a else None for a in both)
                yield {**row, **dict(zip(("answer", "answer_against"), texts, strict=True))}


def _verdicts(
    both: Sequence[_Answer | None], stored: Mapping[str, dict[str, Column]], cut_counts: bool
) -> Iterator[dict[str, Column]]:
    """What was said of two answers; where nobody was asked, what that comes to, whatever was said of former answers."""
    there = [a for a in both if a is not None]
    if len(there) < 2:
        yield _verdict(None, None, "no_answer", None)
    elif not cut_counts and any(a.cut for a in there):
        yield _verdict(None, None, "answer_truncated", None)
    elif there[0].text == there[1].text:
        yield _verdict(None, 0.5, "same_answer", None)
    else:
        yield from stored.values() or [_verdict(None, None, "not_judged", None)]


def _verdict(order: str | None, value: float | None, reason: str | None, judgment: str | None) -> dict[str, Column]:
    return {"order": order, "value": value, "reason": reason, "judgment": judgment}


def _from_the_side_of_a(
    said: Mapping[tuple[str, ...], Mapping[str, Line]], a: str, b: str, prompt_id: str
) -> Iterator[tuple[str, dict[str, Column]]]:
    """Order -> verdict, whoever the file names first; it holds what was shown first against what was shown second."""
    for key, orders in (((a, b, prompt_id), ("ab", "ba")), ((b, a, prompt_id), ("ba", "ab"))):
        for stored, order in zip(("ab", "ba"), orders, strict=True):
            if (line := said.get(key, {}).get(stored)) is not None:
                first, reason, raw = (line.get(k) for k in ("preference", "reason", "raw"))
                value = (first if order == "ab" else 1 - first) if isinstance(first, int | float) else None
                words = (t if isinstance(t, str) else None for t in (reason, raw))
                yield order, _verdict(order, value, *words)


def _answers(root: Path, name: str) -> Iterator[tuple[str, _Answer]]:
    if Path(name).name != name:  # a file's own words lead nowhere else
        return
    for line in _lines(root / name / "eval" / f"{MATCHES}@1" / "answers.jsonl"):
        if line.get("index") == 0 and isinstance(text := line.get("text"), str):
            yield str(line.get("prompt_id")), _Answer(_bounded(text), line.get("finish_reason") == "length")


def _prompt(line: Line) -> str:
    """What was asked: the text of a single turn; of several, who said what."""
    messages = [m for m in line.get("messages") or () if isinstance(m, Mapping)]
    told = [str(m.get("content")) for m in messages]
    if len(told) > 1:
        told = [f"{m.get('role')}: {text}" for m, text in zip(messages, told, strict=True)]
    return _bounded("\n\n".join(told))


# --- small things


def _details(detail: Mapping[str, Any]) -> Iterator[tuple[str, Column]]:
    """What a row keeps besides its measures; the judge's words are called so in all benchmarks."""
    for key, value in detail.items():
        name = {"raw": "judgment", "judgments": "judgment"}.get(key, key)
        if key == "measures":
            continue
        if isinstance(value, Mapping):
            yield from ((f"{name}_{k}", _bounded(v)) for k, v in value.items() if isinstance(v, str))
        elif isinstance(value, list):
            single = name.removesuffix("s")
            yield from ((f"{single}_{k}", _bounded(v)) for k, v in enumerate(value, 1) if isinstance(v, str))
        elif isinstance(value, str):
            yield name, _bounded(value)
        elif value is None or isinstance(value, int | float):
            yield name, value


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} [... {len(text):,} characters]"


def _lines(path: Path) -> Iterator[Line]:
    """The objects of a JSONL file; nothing where there is none."""
    if not path.is_file():
        return
    for _, content in jsonl.lines(path):
        try:
            values = json.loads(content)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict):
            yield values
