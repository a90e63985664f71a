"""Asks an AlpacaEval annotator's question of any engine, in one order or both, and keeps the answers.

Where a server gives no log-probabilities the judge is asked for its verdict in words; such numbers say so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from leaderboards.alpaca_eval.annotators import MAX_SHOWN, Annotator, LogprobVerdict, Verdict, switched
from leaderboards.base import REFUSED, SETTLED, Calls, JudgeRole, Subject, anew, attempts
from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, GenerationRequest
from selfreward_bench.models.bounds import total
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Judgment

__all__ = ["Item", "Judged", "Order", "ask", "first_token_verdict", "orders_of", "planned", "raw_completion"]

FILE: Final = "judgments.jsonl"
IN_WORDS: Final = "text verdict"
NO_LOGPROBS: Final = "no_logprobs"
_RAW = 20_000  # characters of a judge's text that are kept

Order = str  # "ab": the reference is shown first; "ba": the model's answer


@dataclass(frozen=True, slots=True)
class Item:
    """One comparison to be judged."""

    id: str
    instruction: str
    reference: str
    answer: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What the judge says of one comparison.

    Attributes:
        win: 0..1, the model's share, the mean over the orders; None with the reason.
        verdicts: order -> its judgment; those that failed are missing.
        failed: whether asking again may help.
    """

    win: float | None
    reason: str | None
    verdicts: Mapping[Order, Judgment]
    failed: bool = False

    @property
    def ways(self) -> tuple[int, int]:
        """How many verdicts are log-probabilities, and how many words."""
        in_words = [IN_WORDS in j.judge for j in self.verdicts.values() if j.reason != REFUSED]
        return in_words.count(False), in_words.count(True)

    @property
    def first_shown(self) -> float | None:
        """How much the judge preferred what it was shown first, 0..1."""
        wins = [(order, j.score) for order, j in self.verdicts.items() if j.score is not None]
        return sum(1 - w if order == "ab" else w for order, w in wins) / len(wins) if wins else None

    @property
    def agreement(self) -> float | None:
        """Whether two orders have the same winner; None with fewer than two verdicts."""
        wins = [j.score for j in self.verdicts.values() if j.score is not None]
        if len(wins) < 2:
            return None
        return float(len({(w > 0.5) - (w < 0.5) for w in wins}) == 1)


def orders_of(instruction: str, policy: str, annotator: Annotator) -> tuple[Order, ...]:
    """The orders a comparison is shown in: AlpacaEval's coin (policy ``seeded``), or both."""
    if policy == "both":
        return ("ab", "ba")
    return ("ba",) if annotator.randomized and switched(instruction) else ("ab",)


def planned(items: Sequence[Item], annotator: Annotator, policy: str, unwritten: int = 0) -> Calls:
    """What `ask` will ask, its tokens at most: given text has at most a token per byte.

    A judge that turns out to give no log-probabilities is asked a second time, in words: these calls are not counted.

    Args:
        unwritten: tokens that each answer may still get, where it is not there yet.
    """
    parts = []
    for item in items:
        asked = unwritten or item.answer != item.reference
        n = len(orders_of(item.instruction, policy, annotator)) if asked else 0
        shown = annotator.render(item.instruction, item.reference, item.answer)
        size = sum(len(m.content.encode("utf-8", "replace")) for m in shown)
        parts.append(Calls(n, n * (size + unwritten), n * annotator.max_tokens))
    return total(parts)


def ask(
    subject: Subject, items: Sequence[Item], annotator: Annotator, judge: JudgeRole, policy: str
) -> dict[str, Judged]:
    """Item id -> what the judge says. Judgments are stored batch by batch in ``judgments.jsonl`` and not made again.

    One without a verdict is kept and asked for again by later calls, as often as the judge's role says; the last one
    counts. Equal texts are a draw without asking, as with AlpacaEval.
    """
    asked = {
        f"{item.id}/{order}": (item, order)
        for item in items
        if item.answer != item.reference
        for order in orders_of(item.instruction, policy, annotator)
    }
    session = _Session(subject, annotator, judge, asked)
    failures = session.run() if asked else {}
    found: dict[str, dict[Order, Judgment]] = {}
    for judgment in session.stored:
        found.setdefault(judgment.prompt_id, {})[str(judgment.order)] = judgment
    unread = session.wanted().keys() - failures.keys()
    return {
        item.id: _judged(item, orders_of(item.instruction, policy, annotator), found, failures, unread)
        for item in items
    }


def _judged(
    item: Item,
    orders: Sequence[Order],
    found: Mapping[str, dict[Order, Judgment]],
    failures: Mapping[str, str],
    unread: Collection[str],
) -> Judged:
    if item.answer == item.reference:
        return Judged(0.5, None, {})
    verdicts = {order: j for order in orders if (j := found.get(item.id, {}).get(order)) is not None}
    missing = [failures.get(f"{item.id}/{order}", "failed: no answer") for order in orders if order not in verdicts]
    wins = [j.score for j in verdicts.values() if j.score is not None]
    if len(wins) == len(orders):
        return Judged(sum(wins) / len(wins), None, verdicts)
    reasons = [*missing, *(j.reason for j in verdicts.values() if j.score is None)]
    again = any(f"{item.id}/{order}" in unread for order in orders)
    return Judged(None, reasons[0], verdicts, failed=again or any(reason not in SETTLED for reason in missing))


class _Session:
    """The requests of one benchmark run, and what is stored of them."""

    def __init__(
        self, subject: Subject, annotator: Annotator, judge: JudgeRole, asked: Mapping[str, tuple[Item, Order]]
    ) -> None:
        if judge.engine is None:
            raise ValueError("a judge without an engine judges nothing here")
        self._subject, self._annotator, self._engine, self._asked = subject, annotator, judge.engine, asked
        self._role = judge
        self._name = f"{annotator.name}#{annotator.config_hash[:8]}/{judge.name}"
        self._path = subject.directory / FILE
        stored = jsonl.resume(self._path, Judgment, unique=lambda j: j.id)
        self.stored = [j for j in stored if _request_id(j) in asked]
        self._tries: dict[str, list[bool]] = {name: [] for name in asked}
        for judgment in self.stored:
            self._tries[_request_id(judgment)].append(judgment.score is not None)

    def wanted(self) -> dict[str, int]:
        """What is to be asked: request id -> how often it was asked before."""
        return attempts(self._tries, self._role.retries)

    def run(self) -> dict[str, str]:
        """Asks for what is not stored; request id -> why it has no judgment."""
        self._subject.advanced(sum(map(bool, self._tries.values())))
        failures: dict[str, str] = {}
        while wanted := self.wanted():
            before = len(self.stored)
            failures = self._ask(wanted)
            if not self._role.replays or len(self.stored) == before:
                break
        return {name: why for name, why in failures.items() if not self._tries[name]}

    def _ask(self, wanted: Mapping[str, int]) -> dict[str, str]:
        """Asks each once; request id -> why it has no judgment."""
        done, failures = self._asked.keys() - wanted.keys(), dict.fromkeys(wanted, "failed: no answer")
        in_words = list(self._asked)
        if self._annotator.by_logprobs:
            choices = [self._choice(name, wanted.get(name, 0)) for name in self._asked]
            for scored in self._engine.choice_logprobs(choices, done):
                self._store([self._weighed(s, wanted[s.id]) for s in scored if s.id in wanted])
            failures |= {name: why for name, why in self._engine.failures.items() if name in wanted}
            in_words = [name for name in self._asked if failures.get(name) == NO_LOGPROBS]
        if in_words:
            questions = [self._question(name, wanted.get(name, 0)) for name in in_words]
            for answers in self._engine.generate(questions, done):
                self._store([self._read(a, wanted[a.prompt_id]) for a in answers if a.prompt_id in wanted])
            failures |= dict.fromkeys((name for name in in_words if name in wanted), "failed: no answer")
            failures |= {name: why for name, why in self._engine.failures.items() if name in wanted}
        refused = [name for name, why in failures.items() if why == REFUSED]
        self._store([self._judgment(n, Verdict(None, REFUSED), "", REFUSED, 0, wanted[n]) for n in refused])
        return failures

    def _store(self, fresh: Sequence[Judgment]) -> None:
        jsonl.append(self._path, fresh)
        self.stored += fresh
        for judgment in fresh:
            self._tries[_request_id(judgment)].append(judgment.score is not None)
        self._subject.advanced(len(fresh))

    def _messages(self, name: str, *, in_words: bool = False) -> Any:
        item, order = self._asked[name]
        shown = (item.reference, item.answer) if order == "ab" else (item.answer, item.reference)
        return self._annotator.render(item.instruction, *shown, in_words=in_words)

    def _choice(self, name: str, attempt: int) -> ChoiceRequest:
        verdict = self._annotator.verdict
        assert isinstance(verdict, LogprobVerdict)  # noqa: S101  # ``by_logprobs``
        return ChoiceRequest(name, self._messages(name), verdict.choices, attempt=attempt)

    def _question(self, name: str, attempt: int) -> GenerationRequest:
        return GenerationRequest(
            id=name,
            prompt=self._messages(name, in_words=True),
            seeds=(derive_seed(self._subject.config.seed, "eval/alpaca-eval/judge", name, *anew(attempt)),),
            temperature=self._annotator.temperature,
            max_new_tokens=self._annotator.max_tokens,
            attempt=attempt,
        )

    def _weighed(self, found: ChoiceLogprobs, attempt: int) -> Judgment:
        verdict = self._annotator.verdict
        assert isinstance(verdict, LogprobVerdict)  # noqa: S101  # ``by_logprobs``
        finite = [None if math.isinf(p) or math.isnan(p) else p for p in found.logprobs]
        raw = json.dumps(dict(zip(verdict.choices, finite, strict=True)))
        return self._judgment(found.id, verdict.weigh(*found.logprobs), raw, "log-probabilities", 1, attempt)

    def _read(self, answer: Completion, attempt: int) -> Judgment:
        cut = answer.finish_reason == "length" and not self._annotator.by_logprobs
        verdict = self._annotator.verdict.read(answer.text, truncated=cut)
        return self._judgment(answer.prompt_id, verdict, answer.text[:_RAW], IN_WORDS, answer.n_tokens, attempt)

    def _judgment(self, name: str, verdict: Verdict, raw: str, way: str, n_tokens: int, attempt: int) -> Judgment:
        item, order = self._asked[name]
        win = None if verdict.preference is None else verdict.preference - 1
        if win is not None and order == "ba":
            win = 1 - win
        return Judgment(
            prompt_id=item.id,
            index=0,
            sample=attempt,
            judge=f"{self._name}/{way}",
            score=win,
            raw=raw,
            reason=verdict.reason,
            n_tokens=n_tokens,
            order="ab" if order == "ab" else "ba",
        )


def _request_id(judgment: Judgment) -> str:
    return f"{judgment.prompt_id}/{judgment.order}"


def is_shortened(item: Item) -> bool:
    """Whether the judge is not shown a text in full."""
    return max(map(len, (item.instruction, item.reference, item.answer))) > MAX_SHOWN


# --- AlpacaEval's record of a judgment


def raw_completion(judged: Judged) -> dict[str, object] | None:
    """A single judgment in the layout that AlpacaEval parses again; None for a draw unasked, or two orders."""
    if len(judged.verdicts) != 1:
        return None
    (judgment,) = judged.verdicts.values()
    if IN_WORDS in judgment.judge or judgment.reason == REFUSED:
        return {"text": judgment.raw}
    found = {name: p for name, p in json.loads(judgment.raw).items() if p is not None}
    top = [{"token": name, "logprob": p} for name, p in sorted(found.items(), key=lambda entry: -entry[1])]
    return {"text": top[0]["token"], "logprobs": {"content": [{**top[0], "top_logprobs": top}]}} if top else None


def first_token_verdict(completion: object, verdict: LogprobVerdict, shown_first: Order) -> float | None:
    """The model's share of the win (0..1) by the log-probabilities a finished annotation keeps, if it keeps them."""
    try:
        top = completion["logprobs"]["content"][0]["top_logprobs"]  # type: ignore[index]  # any shape but this is None
        found = {str(entry["token"]): float(entry["logprob"]) for entry in _some(top)}
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    preference = verdict.weigh(*(found.get(name, -math.inf) for name in verdict.choices)).preference
    if preference is None:
        return None
    return preference - 1 if shown_first == "ab" else 2 - preference


def _some(entries: object) -> Iterator[Any]:
    if not isinstance(entries, list):
        raise TypeError("no list")
    yield from entries[:100]
