"""MT-Bench's judge: asked about every answered turn, its texts stored as they come, its verdicts turned into rows.

What was answered and judged is also written down in FastChat's formats, so that FastChat's own tools can read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final, Protocol

from leaderboards.base import REFUSED, JudgeRole, Subject, answers, attempts, kept
from leaderboards.mt_bench.files import (
    Item,
    JudgePrompts,
    PairJudgment,
    SingleJudgment,
    TurnNumber,
    Winner,
    make_answer,
    model_name,
)
from leaderboards.mt_bench.scores import (
    FAILED,
    TURNS,
    Judged,
    Order,
    Replies,
    grade_row,
    judgment_of,
    pair_row,
    shown,
)
from leaderboards.mt_bench.verdicts import read_choice, read_grade
from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, Engine, GenerationRequest
from selfreward_bench.judges.parsing import Verdict
from selfreward_bench.judges.pointwise import expected
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Judgment, Message, SampleScore

__all__ = ["JUDGE_TOKENS", "Judging", "ask", "export_answers", "may_pass", "said"]

JUDGE_TOKENS: Final = 2048  # FastChat's; at temperature 0
ORDERS: Final[tuple[Order, Order]] = ("ab", "ba")
PREFIX: Final = "Rating: [["  # the form FastChat's prompts ask for, up to the grade
_GRADES: Final = tuple(range(1, 11))
_NO_ANSWER: Final = "no_answer"
_PASSING: Final = (_NO_ANSWER, "over_budget", "not_in_store", "failed:")

FILE: Final = "judge.jsonl"
EXPECTED: Final = "judge-expected.jsonl"

Prompts = Mapping[str, tuple[Message, ...]]


class Read(Protocol):
    """Reads a verdict: ``read_grade`` or ``read_choice``."""

    def __call__(self, text: str, *, truncated: bool = ...) -> Verdict: ...


def ask(subject: Subject, filename: str, requests: Sequence[GenerationRequest]) -> dict[str, Completion | str]:
    """Request id -> its answer (stored in ``filename``), or why there is none."""
    found = {c.prompt_id: c for c in answers(subject, filename, requests)}
    failures = subject.engine.failures
    return {r.id: found.get(r.id) or failures.get(r.id, _NO_ANSWER) for r in requests}


def may_pass(reason: str | None) -> bool:
    """Whether asking again may help."""
    return reason is not None and reason.startswith(_PASSING)


def said(item: Item, turn: TurnNumber, replies: Replies) -> tuple[str, ...] | None:
    """The answers up to a turn; None where one is missing."""
    texts = [replies[item.id, t].text for t in TURNS[:turn]]
    return None if None in texts else tuple(text for text in texts if text is not None)


@dataclass(frozen=True)
class Judging:
    """One judge over one subject's answers.

    Attributes:
        engine: the role's.
        again: the turns (``QUESTION/TURN``) whose judgments hold no verdict, and are asked for again by the next call.
    """

    subject: Subject
    role: JudgeRole
    engine: Engine
    prompts: JudgePrompts
    again: set[str] = field(default_factory=set)

    def grade(self, items: Sequence[Item], replies: Replies) -> list[SampleScore]:
        """Asks for a grade of each answered turn, in words or for the grades' probabilities."""
        asked = {
            (item.id, turn): self.prompts.render(item, turn, given)
            for item, turn in product(items, TURNS)
            if (given := said(item, turn, replies)) is not None
        }
        prompts = {f"{i}/{turn}": messages for (i, turn), messages in asked.items()}
        in_words = self.subject.config.eval.mt_bench_mode != "expected"
        found = self._ask(prompts, read_grade) if in_words else self._expected(prompts)
        rows, records = [], []
        for item, turn in product(items, TURNS):
            reply, judged = replies[item.id, turn], self._read(item, turn, found.get(f"{item.id}/{turn}"))
            judged = judged or reply.reason or _NO_ANSWER
            name = self.prompts.name("single", item, turn)
            rows.append(grade_row(item, turn, reply, judged, judge_prompt=name))
            if isinstance(judged, Judgment):
                records.append(self._single(item, turn, judged, asked[item.id, turn]))
        if in_words:
            self._export("single", records)
        return rows

    def compare(self, items: Sequence[Item], replies: Replies, other: Replies, other_name: str) -> list[SampleScore]:
        """Asks which of two answers is better, in both orders."""
        asked: dict[tuple[str, TurnNumber, Order], tuple[Message, Message]] = {}
        for item, turn in product(items, TURNS):
            own, theirs = said(item, turn, replies), said(item, turn, other)
            if own is not None and theirs is not None:
                asked[item.id, turn, "ab"] = self.prompts.render(item, turn, own, theirs)
                asked[item.id, turn, "ba"] = self.prompts.render(item, turn, theirs, own)
        prompts = {f"{i}/{turn}/{order}": messages for (i, turn, order), messages in asked.items()}
        found = self._ask(prompts, read_choice)
        rows, records = [], []
        for item, turn in product(items, TURNS):
            reply, theirs_now = replies[item.id, turn], other[item.id, turn]
            why = reply.reason or (f"baseline_{theirs_now.reason}" if theirs_now.reason else _NO_ANSWER)
            judged: dict[Order, Judged] = {
                order: self._read(item, turn, found.get(f"{item.id}/{turn}/{order}"), order) or why for order in ORDERS
            }
            name = self.prompts.name("pairwise", item, turn)
            rows.append(pair_row(item, turn, reply, judged, judge_prompt=name, baseline=shown(theirs_now.text)))
            orders = {order: j for order, j in judged.items() if isinstance(j, Judgment)}
            if len(orders) == len(ORDERS):
                records.append(self._pair(item, turn, orders, {o: asked[item.id, turn, o] for o in ORDERS}, other_name))
        self._export("pair", records)
        return rows

    def _expected(self, prompts: Prompts) -> dict[str, Judgment | str]:
        """The expected grade of each after ``PREFIX``; no word is written, and there is nothing to ask for again."""
        requests = [
            ChoiceRequest(id=name, prompt=p, choices=tuple(f"{n}]]" for n in _GRADES), assistant_prefix=PREFIX)
            for name, p in prompts.items()
        ]

        def ask(stored: Sequence[Judgment]) -> Iterator[list[Judgment]]:
            done = {_asked(judgment) for judgment in stored}
            return ([self._expectation(a) for a in b] for b in self.engine.choice_logprobs(requests, done))

        found = {_asked(judgment): judgment for judgment in kept(self.subject, EXPECTED, Judgment, ask)}
        failures = self.engine.failures
        return {name: found.get(name) or failures.get(name, _NO_ANSWER) for name in prompts}

    def _expectation(self, answer: ChoiceLogprobs) -> Judgment:
        score, reason, raw = expected(answer.logprobs, _GRADES, self.subject.config.judge.min_mass)
        item, _, turn = answer.id.rpartition("/")
        return Judgment(
            prompt_id=item,
            index=int(turn),
            judge=self.role.name,
            score=score,
            raw=json.dumps(raw),
            reason=reason,
        )

    def _ask(self, prompts: Prompts, read: Read) -> dict[str, Completion | str]:
        """What the judge said last of each; what is not stored is asked for. Attempt k is stored as ``NAME~k``."""
        known = self._known()
        while True:
            before = len(known)
            failures = self._attempt(prompts, _tries(prompts, known, read))
            known = self._known()
            if not self.role.replays or len(known) == before:
                break
        tries = _tries(prompts, known, read)
        unread = attempts({name: made for name, made in tries.items() if made}, self.role.retries)
        self.again.update(name.rpartition("/")[0] if name.endswith(ORDERS) else name for name in unread)
        latest = {name: known[_name(name, len(made) - 1)] for name, made in tries.items() if made}
        return failures | latest

    def _attempt(self, prompts: Prompts, tries: Mapping[str, Sequence[bool]]) -> dict[str, Completion | str]:
        """Asks for the next attempt of each that wants one; a refusal is stored, too."""
        subject = replace(self.subject, open_engine=lambda: self.engine)
        wanted = attempts(tries, self.role.retries)
        numbers = {name: wanted.get(name, len(made) - 1) for name, made in tries.items()}  # all: batches stay the same
        requests = [
            GenerationRequest(
                id=_name(name, k), prompt=prompts[name], temperature=0, max_new_tokens=JUDGE_TOKENS, attempt=k
            )
            for name, k in numbers.items()
        ]
        found = ask(subject, FILE, requests)
        refused = [name for name, said in found.items() if said == REFUSED]
        jsonl.append(
            subject.directory / FILE,
            [Completion(prompt_id=n, index=0, text="", n_tokens=0, finish_reason="refused", seed=0) for n in refused],
        )
        return {name: found[_name(name, k)] for name, k in numbers.items()}

    def _known(self) -> dict[str, Completion]:
        stored = jsonl.resume(self.subject.directory / FILE, Completion, unique=lambda c: c.id)
        return {c.prompt_id: c for c in stored}

    def _read(
        self, item: Item, turn: TurnNumber, answer: Completion | Judged | None, order: Order | None = None
    ) -> Judged | None:
        if answer is None or isinstance(answer, str | Judgment):
            return answer
        if answer.finish_reason == "refused":
            return REFUSED
        cut = answer.finish_reason == "length"
        return judgment_of(item, turn, self.role.name, answer.text, order=order, cut=cut, n_tokens=answer.n_tokens)

    def _single(self, item: Item, turn: TurnNumber, judgment: Judgment, messages: Sequence[Message]) -> SingleJudgment:
        return SingleJudgment(
            question_id=int(item.id),
            model=self.subject.name,
            judge=(self.role.name, self.prompts.name("single", item, turn)),
            user_prompt=messages[-1].content,
            judgment=judgment.raw,
            score=FAILED if judgment.score is None else judgment.score,
            turn=turn,
        )

    def _pair(
        self,
        item: Item,
        turn: TurnNumber,
        judged: Mapping[Order, Judgment],
        prompts: Mapping[Order, Sequence[Message]],
        other_name: str,
    ) -> PairJudgment:
        return PairJudgment(
            question_id=int(item.id),
            model_1=self.subject.name,
            model_2=other_name,
            g1_winner=_winner(judged["ab"].score),
            g2_winner=_winner(judged["ba"].score),
            judge=(self.role.name, self.prompts.name("pairwise", item, turn)),
            g1_user_prompt=prompts["ab"][-1].content,
            g1_judgment=judged["ab"].raw,
            g2_user_prompt=prompts["ba"][-1].content,
            g2_judgment=judged["ba"].raw,
            turn=turn,
        )

    def _export(self, kind: str, records: Sequence[SingleJudgment | PairJudgment]) -> None:
        file = f"{model_name(self.role.name)}_{kind}.jsonl"
        jsonl.write(self.subject.directory / "fastchat" / "model_judgment" / file, records)


def _asked(judgment: Judgment) -> str:
    return f"{judgment.prompt_id}/{judgment.index}"


def _name(name: str, attempt: int) -> str:
    return f"{name}~{attempt}" if attempt else name


def _tries(names: Iterable[str], known: Mapping[str, Completion], read: Read) -> dict[str, list[bool]]:
    """Whether each attempt that is stored holds a verdict."""
    found: dict[str, list[bool]] = {name: [] for name in names}
    for name, made in found.items():
        while (answer := known.get(_name(name, len(made)))) is not None:
            made.append(read(answer.text, truncated=answer.finish_reason == "length").score is not None)
    return found


def _winner(points: float | None) -> Winner:
    if points is None:
        return "error"
    return "tie" if points == 0.5 else "model_1" if points else "model_2"


def export_answers(subject: Subject, items: Sequence[Item], replies: Replies) -> None:
    """Both turns of each question, as FastChat's ``model_answer`` file; a question that lacks one is left out."""
    given = [(item, said(item, 2, replies)) for item in items]
    records = [make_answer(item, subject.name, turns) for item, turns in given if turns is not None]
    jsonl.write(subject.directory / "fastchat" / "model_answer" / f"{model_name(subject.name)}.jsonl", records)
