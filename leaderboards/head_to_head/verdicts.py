"""What judges said of pairs of answers, and what of it is asked for again.

Verdicts are stored batch by batch in ``comparisons.jsonl``. Each belongs to the judge and to the texts it was shown;
those on other texts or of other judges are put aside, and come back when they are wanted again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from leaderboards.base import REFUSED, SETTLED, JudgeRole, attempts
from leaderboards.head_to_head.judges import PairAnnotator, Preference, Showing
from selfreward_bench.judges.fencing import clean
from selfreward_bench.judges.pairwise import Order
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Prompt, Record

__all__ = ["COMPARISONS", "Judged", "Match", "Verdict", "judged", "kind_of"]

COMPARISONS: Final = "comparisons.jsonl"
OTHER_COMPARISONS: Final = "comparisons.other.jsonl"  # on former answers, or by other judges

_MAX_RAW = 20_000  # characters of a judge's text that are kept


class Verdict(Record):
    """One stored judgment of one showing.

    Attributes:
        order: ``ab``: the answer of ``a`` was shown first.
        content: hash of the judge and of everything it was shown; a verdict on other texts is not used.
        preference: for what was shown FIRST, 0..1.
        way: what it was read from, as ``Preference.way``.
        attempt: how often the judge was asked before, without a verdict.
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
    attempt: int = 0

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


@dataclass(frozen=True)
class Judged:
    """What was said of all showings, by the ids of their verdicts.

    Attributes:
        verdicts: those with a preference.
        reasons: why the others have none.
        again: how many of those are asked for again by the next call.
    """

    verdicts: Mapping[str, Verdict]
    reasons: Mapping[str, str]
    again: int


def judged(
    matches: Sequence[Match],
    annotator: PairAnnotator,
    judge: JudgeRole,
    path: Path,
    advanced: Callable[[int], None],
) -> Judged:
    """Asks for what is not stored. A judgment without a verdict is asked for again by later calls, as the role says.

    Args:
        path: the file of verdicts.
        advanced: told how many more verdicts are there.

    Raises:
        DataError: stored verdicts cannot be read.
    """
    session = _Session(matches, annotator, judge, path, advanced)
    while wanted := session.wanted():
        before = session.n_stored
        session.ask(wanted)
        if not judge.replays or session.n_stored == before:
            break
    latest = {i: tried[-1] for i, tried in session.tries.items() if tried}
    unread = {i: v.reason or "no_verdict" for i, v in latest.items() if v.preference is None}
    failed = {i: kind_of(annotator.failures.get(i, "no_judgment")) for i in session.tries if i not in latest}
    again = len(session.wanted().keys() & unread.keys()) + sum(why not in SETTLED for why in failed.values())
    return Judged({i: v for i, v in latest.items() if v.preference is not None}, unread | failed, again)


class _Session:
    """The showings that want a verdict, and all attempts that are stored of each."""

    def __init__(
        self,
        matches: Sequence[Match],
        annotator: PairAnnotator,
        judge: JudgeRole,
        path: Path,
        advanced: Callable[[int], None],
    ) -> None:
        self._annotator, self._judge, self._path, self._advanced = annotator, judge, path, advanced
        self._asked = {
            (s := m.showing(order)).id: (m, order, s)
            for m in matches
            if m.reason is None and not m.identical
            for order in m.orders
        }
        identity = [annotator.key, judge.snapshot, dict(annotator.parameters)]
        self._content = {i: _content(identity, s) for i, (_, _, s) in self._asked.items()}
        self.tries: dict[str, list[Verdict]] = {i: [] for i in self._asked}
        for verdict in _stored(path, self._content):
            self.tries[verdict.id].append(verdict)
        advanced(sum(map(bool, self.tries.values())))

    @property
    def n_stored(self) -> int:
        return sum(map(len, self.tries.values()))

    def wanted(self) -> dict[str, int]:
        """What is to be asked: id -> how often it was asked before."""
        tries = {i: [v.preference is not None for v in tried] for i, tried in self.tries.items()}
        return attempts(tries, self._judge.retries)

    def ask(self, wanted: Mapping[str, int]) -> None:
        """Asks each once; a refusal is stored, too."""
        showings = [replace(s, attempt=wanted.get(i, 0)) for i, (_, _, s) in self._asked.items()]
        for batch in self._annotator.preferences(showings, self._asked.keys() - wanted.keys()):
            self._store([said for said in batch if said.id in wanted], wanted)
        refused = [i for i in wanted if self._annotator.failures.get(i) == REFUSED]
        self._store([Preference(i, None, reason=REFUSED) for i in refused], wanted)

    def _store(self, said: Sequence[Preference], wanted: Mapping[str, int]) -> None:
        fresh = [_verdict(*self._asked[p.id], self._content[p.id], p, wanted[p.id]) for p in said]
        jsonl.append(self._path, fresh)
        for verdict in fresh:
            self.tries[verdict.id].append(verdict)
        self._advanced(len(fresh))


def _content(identity: object, showing: Showing) -> str:
    shown = [identity, [m.model_dump() for m in showing.messages], showing.first, showing.second]
    return hash_json(shown)[:24]


def _stored(path: Path, content: Mapping[str, str]) -> list[Verdict]:
    """Stored verdicts that are wanted. Those on other texts or of other judges are put aside, and come back."""
    aside = path.with_name(OTHER_COMPARISONS)
    stored = {_key(v): v for v in jsonl.resume(path, Verdict, unique=lambda v: f"{v.id}#{v.attempt}")}
    known = {**stored, **{_key(v): v for v in jsonl.resume(aside, Verdict)}}
    wanted = {key for key, v in known.items() if content.get(v.id) == v.content}
    current = wanted | {key for key, v in stored.items() if v.id not in content}
    if current != stored.keys():
        jsonl.write(aside, [v for key, v in known.items() if key not in current])
        jsonl.write(path, [v for key, v in known.items() if key in current])
    return sorted((known[key] for key in known if key in wanted), key=lambda v: v.attempt)


def _key(verdict: Verdict) -> tuple[str, str, int]:
    return verdict.id, verdict.content, verdict.attempt


def _verdict(match: Match, order: Order, showing: Showing, content: str, said: Preference, attempt: int) -> Verdict:
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
        attempt=attempt,
    )


def kind_of(reason: str) -> str:
    """``failed: timeout after ...`` is ``failed``: reasons are counted."""
    return reason.split(":")[0][:60]
