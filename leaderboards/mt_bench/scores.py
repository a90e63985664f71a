"""From MT-Bench judgments to rows: of a live judge, or of somebody's finished judgments in FastChat's format.

Finished judgments are read again from their texts. What FastChat does with the same file (average duplicates away, drop
failures) is computed beside it, in metrics of their own that say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar

from leaderboards.base import row
from leaderboards.mt_bench.files import (
    Item,
    PairJudgment,
    SingleJudgment,
    TurnNumber,
    read_records,
)
from leaderboards.mt_bench.verdicts import read_choice, read_grade
from selfreward_bench import stats
from selfreward_bench.errors import DataError
from selfreward_bench.judges.pairwise import combine
from selfreward_bench.models.candidates import choose_model
from selfreward_bench.types import Judgment, Metric, SampleScore

__all__ = [
    "FAILED",
    "TURNS",
    "Judged",
    "Order",
    "Replies",
    "Reply",
    "Scored",
    "Turn",
    "grade_row",
    "judgment_of",
    "pair_row",
    "score_pairs",
    "score_singles",
    "shown",
]

TURNS: Final[tuple[TurnNumber, TurnNumber]] = (1, 2)
FAILED: Final = -1  # FastChat's score of a judgment it found no score in
_FAILED_TEXT: Final = "$ERROR$"  # FastChat's judgment where the judge's server failed
_SHOWN: Final = 8_000  # characters of a text that a row keeps

Order = Literal["ab", "ba"]
Judged = Judgment | str  # a judgment, or why there is none
Turn = tuple[str, TurnNumber]  # of a question
R = TypeVar("R", SingleJudgment, PairJudgment)


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer to one turn.

    Attributes:
        text: None where there is no answer, with the reason.
        cut: whether the token limit ended it; None where that is not known.
    """

    text: str | None
    cut: bool | None = None
    reason: str | None = None


Replies = dict[Turn, Reply]


@dataclass(frozen=True)
class Scored:
    """A finished file's rows, and what is no mean over them.

    Attributes:
        judges: the judge and its prompts, as the file names them.
    """

    rows: list[SampleScore]
    judge: str
    prompts: tuple[str, ...]
    metrics: dict[str, Metric] = field(default_factory=dict)


def shown(text: str | None) -> str | None:
    """As much of a text as a row keeps."""
    return text if text is None or len(text) <= _SHOWN else f"{text[:_SHOWN]} … ({len(text):,} characters)"


def judgment_of(
    item: Item,
    turn: TurnNumber,
    judge: str,
    raw: str,
    *,
    order: Order | None = None,
    cut: bool = False,
    n_tokens: int = 0,
) -> Judgment:
    """What a judge generated, read: a grade, or with ``order`` the points of the model (shown first in ``ab``)."""
    verdict = read_choice(raw, truncated=cut) if order else read_grade(raw, truncated=cut)
    score = verdict.score
    return Judgment(
        prompt_id=item.id,
        index=turn,
        judge=judge,
        score=1 - score if order == "ba" and score is not None else score,
        raw=raw,
        reason=verdict.reason,
        n_tokens=n_tokens,
        order=order,
    )


# --- rows


def grade_row(
    item: Item, turn: TurnNumber, reply: Reply | None, judged: Judged | float, **detail: object
) -> SampleScore:
    """One graded turn.

    Args:
        reply: None where only the judgment is known.
        judged: a number where no judge was asked.
    """
    judgment = judged if isinstance(judged, Judgment) else None
    exact = judged if isinstance(judged, float) else None
    grade = judgment.score if judgment else exact
    numbers: dict[str, float | None] = {"grade": grade, f"grade_turn_{turn}": grade, f"grade/{item.category}": grade}
    if reply is not None and (reply.cut is not None or reply.text is None):
        numbers["grade_uncut"] = None if reply.cut else grade
    if exact is None:
        numbers["parse_failures"] = float(grade is None) if judgment else None
    if judgment:
        detail["judgment"] = shown(judgment.raw)
    return _row(item, turn, reply, numbers, judgment.reason if judgment else str(judged), detail)


def pair_row(
    item: Item, turn: TurnNumber, reply: Reply | None, judged: Mapping[Order, Judged], **detail: object
) -> SampleScore:
    """One compared turn, from the judgments of both orders; orders that disagree are a tie."""
    found = [j for j in judged.values() if isinstance(j, Judgment)]
    result = combine(found)[0] if len(found) == len(judged) else None
    points = result.score if result else None
    reasons = [j.reason if isinstance(j, Judgment) else j for j in judged.values()]
    numbers: dict[str, float | None] = {
        "adjusted_win_rate": points,
        "win_rate": None if points is None else float(points == 1),
        "tie_rate": None if points is None else float(points == 0.5),
        "loss_rate": None if points is None else float(points == 0),
        f"adjusted_win_rate_turn_{turn}": points,
        f"adjusted_win_rate/{item.category}": points,
        "order_agreement": None if result is None or result.consistent is None else float(result.consistent),
        "parse_failures": None if result is None else sum(j.score is None for j in found) / len(found),
    }
    detail |= {f"judgment_{order}": shown(j.raw) for order, j in judged.items() if isinstance(j, Judgment)}
    return _row(item, turn, reply, numbers, next(filter(None, reasons), None), detail)


def _row(
    item: Item,
    turn: TurnNumber,
    reply: Reply | None,
    numbers: dict[str, float | None],
    reason: str | None,
    detail: dict[str, object],
) -> SampleScore:
    if reply is not None:
        if reply.cut is not None or reply.text is None:
            numbers["truncated"] = None if reply.cut is None else float(reply.cut)
        numbers["chars"] = None if reply.text is None else len(reply.text)
        detail["answer"] = shown(reply.text)
    scored = next(iter(numbers.values())) is not None
    return row(
        f"{item.id}/{turn}",
        item.id,
        numbers,
        reason=None if scored else reason or "unknown",
        category=item.category,
        turn=turn,
        prompt=shown(item.turns[turn - 1]),
        **detail,
    )


# --- finished judgments


def score_singles(path: Path, items: Sequence[Item], name: str, *, exact: bool = False) -> Scored:
    """The grades of one model in a ``JUDGE_single.jsonl``.

    A turn that is judged more than once has no grade (``duplicate``): which judgment counts is not said. A judgment
    FastChat found no score in has none either (``failed``).

    Args:
        name: the model, where the file holds several.
        exact: whether it must be that model, also where there is one alone.

    Raises:
        DataError: the file cannot be used, holds several models or judges, or none of the questions.
    """
    records = read_records(path, SingleJudgment)
    model = choose_model(path, (r.model for r in records), name, exact=exact)
    found = _by_turn(path, items, [r for r in records if r.model == model])
    kept = [r for several in found.values() for r in several]
    judge, prompts = _one_judge(path, kept)
    rows, differing = [], 0
    for item, turn in _turns(items):
        several = found[item.id, turn]
        judged = _judged_once(several) or _reread(item, several[0])
        differing += sum(not _same(read_grade(r.judgment).score, r.score) for r in several)
        stored: dict[str, object] = {"stored_scores": [r.score for r in several][:10], "n_judgments": len(several)}
        rows.append(grade_row(item, turn, None, judged, **stored))
    metrics = {
        f"fastchat_grade{suffix}": stats.mean_interval(
            [None if r.score == FAILED else r.score for r in kept if r.turn in turns],
            [r.question_id for r in kept if r.turn in turns],
        )
        for suffix, turns in (("", TURNS), ("_turn_1", (1,)), ("_turn_2", (2,)))
    }
    failed = sum(r.score == FAILED for r in kept)
    return Scored(rows, judge, prompts, metrics | _counts(items, found, failed, differing))


def score_pairs(path: Path, items: Sequence[Item], name: str, *, exact: bool = False) -> Scored:
    """The comparisons of one model with another in a ``JUDGE_pair.jsonl``; see ``score_singles``.

    Args:
        name: the model; where the file does not know it and holds one pair, ``model_1`` is taken.
        exact: whether it must be that model.

    Raises:
        DataError: as ``score_singles``, or the model is compared with several others.
    """
    records = read_records(path, PairJudgment)
    models = {r.model_1 for r in records} | {r.model_2 for r in records}
    model = name if name in models else choose_model(path, (r.model_1 for r in records), name, exact=exact)
    own = [r for r in records if model in (r.model_1, r.model_2)]
    others = sorted({r.model_1 if r.model_2 == model else r.model_2 for r in own})
    if len(others) > 1:
        raise DataError(
            f"{path} compares {model!r} with {len(others)} models ({', '.join(o[:100] for o in others[:40])}). Keep "
            "the lines of one of them."
        )
    found = _by_turn(path, items, own)
    kept = [r for several in found.values() for r in several]
    judge, prompts = _one_judge(path, kept)
    rows, differing = [], 0
    for item, turn in _turns(items):
        several = found[item.id, turn]
        orders = [_orders(item, r, model) for r in several]
        differing += sum(
            not _same(o[x].score, _points(r, model, x)) for r, o in zip(several, orders, strict=True) for x in o
        )
        why = _judged_once(several)
        judged: Mapping[Order, Judged] = {"ab": why, "ba": why} if why else orders[0]
        rows.append(pair_row(item, turn, None, judged, n_judgments=len(several)))
    points = [_as_fastchat(r, model) for r in kept]
    metrics = {"fastchat_adjusted_win_rate": stats.mean_interval(points, [r.question_id for r in kept])}
    failed = sum(p is None for p in points)
    return Scored(rows, judge, prompts, metrics | _counts(items, found, failed, differing))


def _turns(items: Iterable[Item]) -> Iterable[tuple[Item, TurnNumber]]:
    return ((item, turn) for item in items for turn in TURNS)


def _by_turn(path: Path, items: Sequence[Item], records: Iterable[R]) -> dict[Turn, list[R]]:
    asked = {item.id for item in items}
    found: dict[Turn, list[R]] = defaultdict(list)
    for record in records:
        if str(record.question_id) in asked:
            found[str(record.question_id), record.turn].append(record)
    if not found:
        raise DataError(f"{path} judges none of the {len(asked)} questions. Is it a file of another benchmark?")
    return found


def _one_judge(path: Path, records: Iterable[SingleJudgment | PairJudgment]) -> tuple[str, tuple[str, ...]]:
    judges = sorted({r.judge for r in records})
    names = sorted({name for name, _ in judges})
    if len(names) > 1:
        raise DataError(
            f"{path} holds judgments of {len(names)} judges ({', '.join(n[:100] for n in names[:40])}), whose grades "
            "cannot be averaged. Keep the lines of one of them."
        )
    return names[0], tuple(prompt for _, prompt in judges)


def _judged_once(several: Sequence[object]) -> str | None:
    """Why there is not one judgment; None when there is."""
    return None if len(several) == 1 else "duplicate" if several else "not_in_file"


def _reread(item: Item, record: SingleJudgment) -> Judged:
    judgment = judgment_of(item, record.turn, record.judge[0], record.judgment)
    failed = judgment.score is None and (record.score == FAILED or record.judgment == _FAILED_TEXT)
    return judgment.model_copy(update={"reason": "failed"}) if failed else judgment


def _orders(item: Item, record: PairJudgment, model: str) -> dict[Order, Judgment]:
    first, second = (record.g1_judgment, record.g2_judgment)[:: 1 if record.model_1 == model else -1]
    texts: tuple[tuple[Order, str], ...] = (("ab", first), ("ba", second))
    return {order: judgment_of(item, record.turn, record.judge[0], text, order=order) for order, text in texts}


def _points(record: PairJudgment, model: str, order: Order) -> float | None:
    """The stored verdict of one order, as points of ``model``."""
    winner = record.g1_winner if (order == "ab") == (record.model_1 == model) else record.g2_winner
    if winner == "error":
        return None
    return 0.5 if winner == "tie" else float(getattr(record, winner) == model)


def _as_fastchat(record: PairJudgment, model: str) -> float | None:
    points = [_points(record, model, "ab"), _points(record, model, "ba")]
    if None in points:
        return None
    return points[0] if points[0] == points[1] else 0.5


def _same(read: float | None, stored: float | None) -> bool:
    found = FAILED if read is None else read
    return abs(found - (FAILED if stored is None else stored)) < 1e-6


def _counts(
    items: Sequence[Item], found: Mapping[Turn, Sequence[object]], failed: int, differing: int
) -> dict[str, Metric]:
    total = sum(len(several) for several in found.values())
    twice = sum(len(several) > 1 for several in found.values())
    asked = len(items) * len(TURNS)
    return {
        "duplicates": Metric(value=twice, n_scored=asked, n_total=asked),
        "failed_judgments": Metric(value=failed, n_scored=total, n_total=total),
        "stored_score_differs": Metric(value=differing, n_scored=total, n_total=total),
    }
