"""Verdicts of judges on pairs of any set, as files hold them: one documented layout, and readers for published ones.

    {"id": "p1", "label": "A", "ab": "A", "ba": "tie", "category": "code"}

``A`` is the pair's first response, ``B`` its second, whichever was shown first; ``ab`` is the verdict with the first
one shown first, ``ba`` with the second. What a reader knows of a published layout is in its docstring.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from selfreward_bench.errors import DataError
from selfreward_bench.sources.cells import FileRow, held
from selfreward_bench.sources.rows import SUFFIXES, first_row, iterate_rows, read_rows

__all__ = ["FilePair", "VerdictFile", "read_verdicts", "recognise"]

_OWN: Final = "pair-verdicts"
_SAID: Final[Mapping[str, float]] = {"a": 1.0, "b": 0.0, "tie": 0.5}
_DECISIONS: Final[Mapping[str, float]] = {"A>B": 1.0, "B>A": 0.0, "A=B": 0.5, "B=A": 0.5}
_NUMBERED: Final[Mapping[object, float]] = {0: 1.0, 1: 0.0, 2: 0.5}  # Auto-J's
_MARK: Final = re.compile(r"\[RESULT\]\s*:?\s*(A|B|TIE)\b", re.IGNORECASE)
_MAX_FILES: Final = 1_000
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FilePair:
    """One pair.

    Attributes:
        label: what is right: 1 the first response, 0 the second, 0.5 neither.
        ab, ba: verdicts, told from the pair's side as ``label``; None: no verdict could be read.
        category: what the numbers are broken down by.
        credit: of sets that choose among several responses, 0 to 1, in place of a verdict.
        scores: of such a set, one per response, the right ones first; ``n_right`` of them.
    """

    id: str
    label: float
    ab: float | None
    ba: float | None = None
    category: str | None = None
    credit: float | None = None
    scores: tuple[float, ...] = ()
    n_right: int = 1


@dataclass(frozen=True)
class VerdictFile:
    """The verdicts of one judge.

    Attributes:
        kind: the layout.
        both: whether the pairs were judged in both orders.
        files: what was read.
        chosen: whether the judge chose among several responses (RewardBench 2) rather than between two.
    """

    kind: str
    pairs: Sequence[FilePair]
    both: bool
    files: tuple[Path, ...]
    chosen: bool = False


@dataclass(frozen=True)
class _Layout:
    """A layout: the columns that tell it, and how its files are read."""

    kind: str
    columns: frozenset[str]
    read: Callable[[Path], VerdictFile]


def recognise(path: Path) -> str | None:
    """The layout of a file, or of a directory with Auto-J's files; None for any other.

    Raises:
        DataError: the file cannot be read.
    """
    layout = _layout(path)
    return layout.kind if layout else None


def read_verdicts(path: Path) -> VerdictFile:
    """The verdicts of a file.

    Raises:
        DataError: it cannot be used.
    """
    layout = _layout(path)
    if layout is None:
        raise DataError(f"{path} holds no verdicts on pairs in a known layout (docs/benchmarks/judge-accuracy.md).")
    found = layout.read(path)
    twice = [name for name, n in Counter(p.id for p in found.pairs).items() if n > 1]
    if twice and layout.kind == _OWN:
        raise DataError(f"{path}: pair {twice[0][:100]!r} is there more than once. Keep the verdicts of one judge.")
    return replace(found, pairs=list(_apart(found.pairs))) if twice else found


def _apart(pairs: Sequence[FilePair]) -> Iterator[FilePair]:
    """Published sets give some ids twice."""
    seen: Counter[str] = Counter()
    for pair in pairs:
        seen[pair.id] += 1
        yield pair if seen[pair.id] == 1 else replace(pair, id=f"{pair.id}~{seen[pair.id]}")


def _layout(path: Path) -> _Layout | None:
    if path.is_dir():
        return _AUTO_J if _auto_j_files(path) else None
    if not path.name.endswith(SUFFIXES) or not path.is_file():
        return None
    columns = frozenset(first_row(path))
    if found := next((x for x in _LAYOUTS if x.columns <= columns), None):
        return found
    return _AUTO_J if columns == {"output"} and _auto_j_files(path) else None


def _read(path: Path) -> Iterator[tuple[str, FileRow]]:
    """Rows with an id: their own, or their number."""
    for number, row in enumerate(iterate_rows(path)):
        named = next((row.values[key] for key in ("id", "pair_id", "idx") if row.values.get(key) is not None), number)
        yield str(named), row


def _held(row: FileRow, column: str) -> Any:
    """What a row has in a column that tells its file's layout.

    Raises:
        DataError: it has no such column.
    """
    if column not in row.values:
        raise DataError(f"{row.place}: {column!r} is missing, which the rows before have.")
    return held(row, column)


# --- the documented layout


def _own(path: Path) -> VerdictFile:
    pairs, both = [], False
    for name, row in _read(path):
        values = row.values
        both |= "ba" in values
        label = _said(values.get("label"), row.place, "label")
        if label is None:
            raise DataError(f"{row.place}: label is null; a pair without a human label cannot be scored. Remove it.")
        ab, ba = (_said(values.get(order), row.place, order) for order in ("ab", "ba"))
        pairs.append(FilePair(name, label, ab, ba, _text(values.get("category"))))
    return VerdictFile(_OWN, pairs, both, (path,))


def _said(value: object, place: str, field: str) -> float | None:
    if value is None:
        return None
    found = _SAID.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise DataError(f"{place}: {field} is {str(value)[:60]!r}. Write A, B, tie, or null where there is no verdict.")
    return found


def _text(value: object) -> str | None:
    """A name for a breakdown; a ``/`` would nest it."""
    return str(value).replace("/", "_")[:100] if isinstance(value, str | int) and str(value) else None


# --- JudgeBench


_JUDGEBENCH: Final = {
    "mmlu-pro": "Knowledge",
    "livebench-reasoning": "Reasoning",
    "livebench-math": "Math",
    "livecodebench": "Coding",
}


def _judgebench(path: Path) -> VerdictFile:
    """``outputs/*.jsonl`` of ScalerLab/JudgeBench: ``label`` and ``decision`` are ``A>B``, ``B>A`` or ``A=B``.

    The second of the two ``judgments`` was made with the responses swapped, so its decision is turned round.
    """
    pairs, both = [], False
    for name, row in _read(path):
        made = _held(row, "judgments")
        label = _DECISIONS.get(str(_held(row, "label")))
        if label is None or not isinstance(made, list):
            raise DataError(f"{row.place}: 'label' is no A>B or B>A, or 'judgments' no list, as JudgeBench has them.")
        said = [_DECISIONS.get(str(j["decision"])) if isinstance(j, dict) and "decision" in j else None for j in made]
        both |= len(said) > 1
        swapped = said[1] if len(said) > 1 else None
        source = str(row.values.get("source"))
        category = next((c for prefix, c in _JUDGEBENCH.items() if source.startswith(prefix)), _text(source))
        pairs.append(
            FilePair(name, label, said[0] if said else None, None if swapped is None else 1 - swapped, category)
        )
    return VerdictFile("judgebench-verdicts", pairs, both, (path,))


# --- RewardBench


def _rewardbench(path: Path) -> VerdictFile:
    """``eval-set-scores/*.json`` of RewardBench: columns with ``subset``, ``results`` and the scores of both responses.

    The chosen response is the first of the pair. Where a judge wrote rather than scored there is ``results`` alone: 1,
    0, or 0.5 for a tie.
    """
    pairs = []
    for name, row in _read(path):
        chosen, rejected = (_number(held(row, f"scores_{which}")) for which in ("chosen", "rejected"))
        said = _number(_held(row, "results"))
        if chosen is not None and rejected is not None:
            said = (chosen > rejected) + (chosen == rejected) / 2
        if said is not None and said not in (0.0, 0.5, 1.0):
            raise DataError(f"{row.place}: 'results' is {said:g}, not 0, 0.5 or 1 as RewardBench writes.")
        subset = _text(_held(row, "subset"))
        pairs.append(FilePair(f"{subset}/{name}", 1.0, said, None, subset))
    return VerdictFile("rewardbench-verdicts", pairs, False, (path,))


def _rewardbench_2(path: Path) -> VerdictFile:
    """``eval-set-scores/*.json`` of RewardBench 2: per prompt the ``scores`` of all responses, the right ones first.

    The best score wins; ties at the top share the credit, and where a score is no number nobody won. The subset Ties is
    scored as a whole (``ties_score``).
    """
    pairs = []
    for name, row in _read(path):
        given = [_number(score) for score in _flat(_held(row, "scores"))]
        scores = tuple(score for score in given if score is not None)
        n_right, subset = _number(_held(row, "num_correct")), _text(_held(row, "subset")) or "unknown"
        if not scores or n_right is None or n_right not in range(1, len(given) + 1):
            raise DataError(f"{row.place}: 'scores' and 'num_correct' are not as RewardBench 2 writes them.")
        if len(scores) < len(given):
            pairs.append(FilePair(f"{subset}/{name}", 1.0, None, None, subset, n_right=int(n_right)))
            continue
        top = [i for i, s in enumerate(scores) if s == max(scores)]
        credit = 1 / len(top) if 0 in top else 0.0
        pairs.append(FilePair(f"{subset}/{name}", 1.0, None, None, subset, credit, scores, int(n_right)))
    return VerdictFile("rewardbench-2-verdicts", pairs, False, (path,), chosen=True)


def _flat(found: object) -> list[object]:
    if not isinstance(found, list):
        return []
    return [inner[0] if isinstance(inner, list) and inner else inner for inner in found]


def _number(value: object) -> float | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    try:
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) else None


# --- Prometheus


def _prometheus(path: Path) -> VerdictFile:
    """``*_output.json`` of prometheus-eval: ``chosen`` is A, B or tie, ``prometheus_score`` a list of verdicts.

    The first run counts, as there. A file of grades has ``[[accepted], [rejected]]`` instead, the accepted one first;
    equal grades are a tie. Outputs that were not read say ``[RESULT] A``.
    """
    pairs = []
    for name, row in _read(path):
        scores = _held(row, "prometheus_score")
        first = scores[0] if isinstance(scores, list) and scores else scores
        category = _text(row.values.get("source") or row.values.get("scenario"))
        if isinstance(first, list):
            if len(scores) < 2:
                raise DataError(f"{row.place}: 'prometheus_score' has grades of one response, and two are compared.")
            accepted, rejected = (_number(_first(s)) for s in scores[:2])
            label = 0.5 if held(row, "tie") == 1 else 1.0
            said = None if accepted is None or rejected is None else (accepted > rejected) + (accepted == rejected) / 2
        else:
            label_or_none = _SAID.get(str(row.values.get("chosen", "A")).lower())
            if label_or_none is None:
                raise DataError(f"{row.place}: 'chosen' is neither A, B nor tie, as prometheus-eval writes it.")
            label = label_or_none
            said = _SAID.get(str(first).lower()) if first is not None else _marked(row.values.get("prometheus_output"))
        pairs.append(FilePair(name, label, said, None, category))
    return VerdictFile("prometheus-verdicts", pairs, False, (path,))


def _first(found: object) -> object:
    return found[0] if isinstance(found, list) and found else found


def _marked(output: object) -> float | None:
    found = _MARK.findall(str(_first(output) or ""))
    return _SAID[found[-1].lower()] if len(set(map(str.lower, found))) == 1 else None


# --- Auto-J


def _auto_j(path: Path) -> VerdictFile:
    """``{"output": 0}`` per pair of GAIR-NLP/auto-j: 0 the first shown, 1 the second, 2 a tie; one file per order.

    Labels are in the test set, ``testdata_pairwise.jsonl``, row by row; the swapped order in a file with ``exchange``
    in its name.
    """
    files = _auto_j_files(path)
    if files is None:
        raise DataError(f"{path}: Auto-J's testdata_pairwise.jsonl, which has the labels, is not beside it.")
    source, straight, swapped = files
    truth, ab = read_rows(source), [_numbered(held(row, "output")) for row in iterate_rows(straight)]
    ba = [_numbered(held(row, "output")) for row in iterate_rows(swapped)] if swapped else [None] * len(truth)
    if not len(truth) == len(ab) == len(ba):
        raise DataError(f"{straight}: {len(ab)} and {len(ba)} verdicts on the {len(truth)} pairs of {source}.")
    pairs = []
    for number, (row, first, second) in enumerate(zip(truth, ab, ba, strict=True)):
        label = _numbered(held(row, "label"))
        if label is None:
            raise DataError(f"{row.place}: 'label' is not 0, 1 or 2, as Auto-J's test set has it.")
        back = None if second is None else 1 - second
        pairs.append(FilePair(str(number), label, first, back, _text(row.values.get("scenario"))))
    return VerdictFile("auto-j-verdicts", pairs, swapped is not None, tuple(filter(None, files)))


def _numbered(value: object) -> float | None:
    return _NUMBERED.get(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _auto_j_files(path: Path) -> tuple[Path, Path, Path | None] | None:
    """The test set, the verdicts, and those in the swapped order; None where they are not there."""
    folder = path if path.is_dir() else path.parent
    there = [f for _, f in zip(range(_MAX_FILES), folder.rglob("*pairwise*.jsonl*"), strict=False) if f.is_file()]
    if not path.is_dir():
        there += [f for f in (folder.parent / "test").glob("testdata_pairwise.jsonl*") if f.is_file()]
    source = next((f for f in there if f.name.startswith("testdata_pairwise.")), None)
    made = [f for f in sorted(there) if f != source and _has_outputs(f)]
    swapped = [f for f in made if "exchange" in f.name]
    straight = [path] if path.is_file() else [f for f in made if f not in swapped]
    if source is None or len(straight) != 1 or straight[0] in swapped or len(swapped) > 1:
        return None
    return source, straight[0], next(iter(swapped), None)


def _has_outputs(path: Path) -> bool:
    try:
        return set(first_row(path)) == {"output"}
    except DataError:
        return False


_AUTO_J: Final = _Layout("auto-j-verdicts", frozenset({"output"}), _auto_j)
_LAYOUTS: Final = (
    _Layout(_OWN, frozenset({"id", "label", "ab"}), _own),
    _Layout("judgebench-verdicts", frozenset({"label", "judgments"}), _judgebench),
    _Layout("rewardbench-2-verdicts", frozenset({"scores", "num_correct", "subset"}), _rewardbench_2),
    _Layout("rewardbench-verdicts", frozenset({"results", "subset"}), _rewardbench),
    _Layout("prometheus-verdicts", frozenset({"prometheus_score"}), _prometheus),
)
