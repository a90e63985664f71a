"""MT-Bench's judge: asked about every answered turn, its texts stored as they come, its verdicts turned into rows.

What was answered and judged is also written down in FastChat's formats, so that FastChat's own tools can read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from leaderboards.base import JudgeRole, Subject, answers
from leaderboards.mt_bench_files import (
    Item,
    JudgePrompts,
    PairJudgment,
    SingleJudgment,
    TurnNumber,
    Winner,
    make_answer,
    model_name,
)
from leaderboards.mt_bench_scores import (
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
from selfreward_bench import jsonl
from selfreward_bench.engines.base import Engine, GenerationRequest
from selfreward_bench.types import Completion, Judgment, Message, SampleScore

__all__ = ["JUDGE_TOKENS", "Judging", "ask", "export_answers", "may_pass", "said"]

JUDGE_TOKENS: Final = 2048  # FastChat's; at temperature 0
ORDERS: Final[tuple[Order, Order]] = ("ab", "ba")
_NO_ANSWER: Final = "no_answer"
_PASSING: Final = (_NO_ANSWER, "over_budget", "not_in_store", "failed:")

Prompts = Mapping[str, tuple[Message, ...]]


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
    """

    subject: Subject
    role: JudgeRole
    engine: Engine
    prompts: JudgePrompts

    def grade(self, items: Sequence[Item], replies: Replies) -> list[SampleScore]:
        """Asks for a grade of each answered turn."""
        asked = {
            (item.id, turn): self.prompts.render(item, turn, given)
            for item, turn in product(items, TURNS)
            if (given := said(item, turn, replies)) is not None
        }
        found = self._ask({f"{i}/{turn}": messages for (i, turn), messages in asked.items()})
        rows, records = [], []
        for item, turn in product(items, TURNS):
            reply, judged = replies[item.id, turn], self._read(item, turn, found.get(f"{item.id}/{turn}"))
            judged = judged or reply.reason or _NO_ANSWER
            name = self.prompts.name("single", item, turn)
            rows.append(grade_row(item, turn, reply, judged, judge_prompt=name))
            if isinstance(judged, Judgment):
                records.append(self._single(item, turn, judged, asked[item.id, turn]))
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
        found = self._ask({f"{i}/{turn}/{order}": messages for (i, turn, order), messages in asked.items()})
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

    def _ask(self, prompts: Prompts) -> dict[str, Completion | str]:
        requests = [
            GenerationRequest(id=name, prompt=messages, temperature=0, max_new_tokens=JUDGE_TOKENS)
            for name, messages in prompts.items()
        ]
        return ask(replace(self.subject, open_engine=lambda: self.engine), "judge.jsonl", requests)

    def _read(
        self, item: Item, turn: TurnNumber, answer: Completion | str | None, order: Order | None = None
    ) -> Judged | None:
        if answer is None or isinstance(answer, str):
            return answer
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


def _winner(points: float | None) -> Winner:
    if points is None:
        return "error"
    return "tie" if points == 0.5 else "model_1" if points else "model_2"


def export_answers(subject: Subject, items: Sequence[Item], replies: Replies) -> None:
    """Both turns of each question, as FastChat's ``model_answer`` file; a question that lacks one is left out."""
    given = [(item, said(item, 2, replies)) for item in items]
    records = [make_answer(item, subject.name, turns) for item, turns in given if turns is not None]
    jsonl.write(subject.directory / "fastchat" / "model_answer" / f"{model_name(subject.name)}.jsonl", records)
