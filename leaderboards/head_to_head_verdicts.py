"""What judges said of pairs of answers, and what of it is asked for again.

Verdicts are stored batch by batch in ``comparisons.jsonl``. Each belongs to the judge and to the texts it was shown;
those on other texts or of other judges are put aside, and come back when they are wanted again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leaderboards.base import SETTLED, JudgeRole
from leaderboards.head_to_head_judges import PairAnnotator, Preference, Showing
from selfreward_bench import jsonl
from selfreward_bench.judges.fencing import clean
from selfreward_bench.judges.pairwise import Order
from selfreward_bench.rundir import hash_json
from selfreward_bench.types import Prompt, Record

__all__ = ["COMPARISONS", "NOT_ASKED_AGAIN", "Match", "Verdict", "judged", "kind_of"]

COMPARISONS: Final = "comparisons.jsonl"
OTHER_COMPARISONS: Final = "comparisons.other.jsonl"  # on former answers, or by other judges
#: reasons for which a judge is not asked again
NOT_ASKED_AGAIN: Final = SETTLED | {"unknown_task"}

_MAX_RAW = 20_000  # characters of a judge's text that are kept


class Verdict(Record):
    """One stored judgment of one showing.

    Attributes:
        order: ``ab``: the answer of ``a`` was shown first.
        content: hash of the judge and of everything it was shown; a verdict on other texts is not used.
        preference: for what was shown FIRST, 0..1.
        way: what it was read from, as ``Preference.way``.
    """

    a: str
    b: str
    prompt_id: str
    order: Order
    content: str
    preference: float | None
    raw: str = ""
    reason: str | None = None
    way: str = "words"

    @property
    def id(self) -> str:
        """``A|B|prompt|order``."""
        return f"{self.a}|{self.b}|{self.prompt_id}|{self.order}"

    @property
    def for_a(self) -> float | None:
        """The preference from the side of ``a``, whatever the order."""
        return self.preference if self.preference is None or self.order == "ab" else 1 - self.preference


@dataclass(frozen=True)
class Match:
    """Two answers to one prompt.

    Attributes:
        reason: why it cannot be judged; None where it can.
        orders: in which it is to be shown.
    """

    a: str
    b: str
    prompt: Prompt
    texts: tuple[str, str]
    reason: str | None
    orders: tuple[Order, ...]

    @property
    def identical(self) -> bool:
        """Whether there is nothing to judge, as both answers are the same."""
        return self.reason is None and self.texts[0] == self.texts[1]

    def showing(self, order: Order) -> Showing:
        """What a judge sees; its id is that of the ``Verdict``."""
        first, second = self.texts if order == "ab" else self.texts[::-1]
        return Showing(f"{self.a}|{self.b}|{self.prompt.id}|{order}", self.prompt.messages, first, second)


def judged(
    matches: Sequence[Match],
    annotator: PairAnnotator,
    judge: JudgeRole,
    path: Path,
    advanced: Callable[[int], None],
) -> tuple[dict[str, Verdict], dict[str, str]]:
    """Verdicts with a preference, and for the other showings the reason, both by id.

    What is stored is not asked for again, but for failures that may pass.

    Args:
        path: the file of verdicts.
        advanced: told how many more verdicts are there.

    Raises:
        DataError: stored verdicts cannot be read.
    """
    wanted = {
        (s := m.showing(order)).id: (m, order, s)
        for m in matches
        if m.reason is None and not m.identical
        for order in m.orders
    }
    identity = [annotator.key, judge.snapshot, dict(annotator.parameters)]
    content = {i: _content(identity, s) for i, (_, _, s) in wanted.items()}
    found = {v.id: v for v in _stored(path, content)}
    advanced(len(found))
    for batch in annotator.preferences([s for _, _, s in wanted.values()], found.keys()):
        fresh = [_verdict(*wanted[p.id], content[p.id], p) for p in batch if p.id in wanted and p.id not in found]
        jsonl.append(path, fresh)
        found |= {v.id: v for v in fresh}
        advanced(len(fresh))
    reasons = {v.id: v.reason or "no_verdict" for v in found.values() if v.preference is None}
    reasons |= {i: kind_of(annotator.failures.get(i, "no_judgment")) for i in wanted if i not in found}
    return {i: v for i, v in found.items() if v.preference is not None}, reasons


def _content(identity: object, showing: Showing) -> str:
    shown = [identity, [m.model_dump() for m in showing.messages], showing.first, showing.second]
    return hash_json(shown)[:24]


def _stored(path: Path, content: Mapping[str, str]) -> list[Verdict]:
    """Stored verdicts that are wanted. Those on other texts or of other judges are put aside, and come back.

    What shall be asked again is taken out of the file.
    """
    aside = path.with_name(OTHER_COMPARISONS)
    stored = {(v.id, v.content): v for v in jsonl.resume(path, Verdict, unique=lambda v: v.id)}
    known = {**stored, **{(v.id, v.content): v for v in jsonl.resume(aside, Verdict)}}
    settled = {key: v for key, v in known.items() if v.preference is not None or v.reason in NOT_ASKED_AGAIN}
    wanted = {key for key in settled if content.get(key[0]) == key[1]}
    current = wanted | {key for key in settled if key[0] not in content and key in stored}
    if current != stored.keys():
        jsonl.write(aside, [v for key, v in settled.items() if key not in current])
        jsonl.write(path, [v for key, v in settled.items() if key in current])
    return [settled[key] for key in settled if key in wanted]


def _verdict(match: Match, order: Order, showing: Showing, content: str, said: Preference) -> Verdict:
    valid = said.value is not None and 0 <= said.value <= 1  # also refuses NaN
    reason = None if valid else said.reason or ("no_verdict" if said.value is None else "out_of_range")
    return Verdict(
        a=match.a,
        b=match.b,
        prompt_id=match.prompt.id,
        order=order,
        content=content,
        preference=said.value if valid else None,
        raw=clean(said.raw[:_MAX_RAW]),
        reason=None if reason is None else clean(kind_of(reason)),
        way=said.way,
    )


def kind_of(reason: str) -> str:
    """``failed: timeout after ...`` is ``failed``: reasons are counted."""
    return reason.split(":")[0][:60]
