"""MT-Bench: two-turn questions, graded 1..10 by a judge or compared with a baseline's answers (arXiv 2306.05685).

``mt-bench@1`` takes the questions, references and judge prompts from the user's data directory, answers of any engine
or of a FastChat file, or finished judgments. ``micro-mt-bench@1`` asks the embedded world's two-turn questions and
grades them exactly. What differs from FastChat, and why, is in docs/benchmarks/mt-bench.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

from leaderboards.base import Calls, JudgeRole, Outcome, Plan, Setting, Subject
from leaderboards.descriptions import described
from leaderboards.micro import ORACLE
from leaderboards.mt_bench import files
from leaderboards.mt_bench.files import Item, JudgePrompts, TurnNumber
from leaderboards.mt_bench.judging import JUDGE_TOKENS, Judging, ask, export_answers, may_pass, said
from leaderboards.mt_bench.scores import TURNS, Replies, Reply, Scored, Turn, grade_row, score_pairs, score_singles
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.micro import data_path, dialogue
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import hash_file
from selfreward_bench.types import Completion, Message, SampleScore, TwoTurnQuestion

__all__ = ["MicroMtBench", "MtBench", "converse"]

#: FastChat's, per category; 0.7 for any other
TEMPERATURES: Final = {
    **dict.fromkeys(("writing", "roleplay"), 0.7),
    **dict.fromkeys(("stem", "humanities"), 0.1),
    **dict.fromkeys(("extraction", "math", "coding", "reasoning"), 0.0),
}
_FAILED_ANSWERS: Final = frozenset({"ERROR", "$ERROR$"})  # what FastChat writes down where a model or server failed
_EXPECTED: Final = "grades were not written: each is the mean of 1 to 10, weighted by the judge's probabilities"
_FRAMING: Final = 64  # tokens of a chat template, at most


class MtBench:
    """MT-Bench on the real questions.

    Args:
        baseline: answers to compare with, a FastChat answers file; for ``eval.mt_bench_mode: pairwise``.
    """

    key: ClassVar = "mt-bench@1"
    description: ClassVar = described(key)
    needs_judge: ClassVar = True
    local_only: ClassVar = False

    def __init__(self, baseline: Path | None = None) -> None:
        self.baseline = baseline

    def identity(self, setting: Setting) -> dict[str, object]:
        """See ``Benchmark``."""
        config, data = setting.config, setting.data
        found: dict[str, object] = {
            "limit": config.eval.limit,
            "questions": data.sha256(files.QUESTIONS),
        }
        if not _is_judged(setting):
            found |= {
                "seed": config.seed,
                "mode": config.eval.mt_bench_mode,
                "max_new_tokens": config.eval.mt_bench_max_new_tokens,
                "references": data.sha256(files.REFERENCES),
                "prompts": data.sha256(files.PROMPTS),
                "baseline": hash_file(self._baseline()) if config.eval.mt_bench_mode == "pairwise" else None,
            }
            if config.eval.mt_bench_mode == "expected":
                found["min_mass"] = config.judge.min_mass
        return found

    def plan(self, setting: Setting) -> Plan:
        """See ``Benchmark``. Texts count their bytes, answers to be written ``mt_bench_max_new_tokens`` each."""
        if _is_judged(setting):
            return Plan()
        config, finished = setting.config.eval, setting.finished
        items = files.load_items(setting.data, config.limit)
        sizes = [_answer_sizes(items, finished.path if finished else None, config.mt_bench_max_new_tokens)]
        if config.mt_bench_mode == "pairwise":
            sizes.append(_answer_sizes(items, self._baseline(), 0))
        prompts, empty = JudgePrompts.load(setting.data), [("", "")] * len(sizes)
        per_turn = [
            _size(prompts.render(item, turn, *empty)) + sum(size[item.id, t] for size in sizes for t in TURNS[:turn])
            for item in items
            for turn in TURNS
        ]
        calls = len(per_turn) * len(sizes)  # two answers are shown in both orders
        answering = Calls() if finished else _answer_calls(items, config.mt_bench_max_new_tokens)
        written = 0 if config.mt_bench_mode == "expected" else JUDGE_TOKENS
        return Plan(answering, Calls(calls, sum(per_turn) * len(sizes), calls * written))

    def recognise(self, path: Path) -> str | None:
        """See ``Benchmark``: ``fastchat-answers``, ``fastchat-judgments`` or ``fastchat-pair-judgments``."""
        return files.recognise(path)

    def run(self, subject: Subject) -> Outcome:
        """Answers in ``turn-1.jsonl`` and ``turn-2.jsonl``, the judge's in ``judge.jsonl``, FastChat's in ``fastchat``.

        Raises:
            ConfigError: there is no judge, or no baseline to compare with.
            DataError: a file cannot be used.
        """
        setting, config = subject.setting, subject.config
        items = files.load_items(setting.data, config.eval.limit)
        finished = setting.finished
        if finished and _is_judged(setting):
            score = score_singles if finished.kind == files.JUDGMENTS else score_pairs
            return self._finished(
                setting, score(finished.path, items, finished.model or subject.name, exact=finished.model is not None)
            )
        judging = _judging(subject)
        other: Replies | None = None
        if config.eval.mt_bench_mode == "pairwise":
            other = _file_replies(self._baseline(), items, None)
        if finished:
            replies = _file_replies(
                finished.path, items, finished.model or subject.name, exact=finished.model is not None
            )
        else:
            replies = converse(subject, items, config.eval.mt_bench_max_new_tokens, _temperature)
            export_answers(subject, items, replies)
        if other is None:
            rows = judging.grade(items, replies)
        else:
            rows = judging.compare(items, replies, other, _stem(self._baseline()))
        incomplete = _incomplete(rows) + len(judging.again)
        notes = (_EXPECTED,) if config.eval.mt_bench_mode == "expected" else ()
        judge = judging.role.name
        return Outcome(rows, judge, {}, self._comparability(setting, judging.role), incomplete, notes=notes)

    def _baseline(self) -> Path:
        if self.baseline is None:
            raise ConfigError(
                "eval.mt_bench_mode is 'pairwise', which compares with a baseline's answers, and no baseline is named. "
                "Name a FastChat answers file (for FastChat's own default: model_answer/gpt-3.5-turbo.jsonl) with "
                "--benchmarks mt-bench:FILE, or set eval.mt_bench_mode to 'single'."
            )
        return self.baseline

    def _comparability(self, setting: Setting, judge: JudgeRole) -> dict[str, str]:
        config, data = setting.config.eval, setting.data
        pairwise = config.mt_bench_mode == "pairwise"
        bound = setting.config.judge.min_mass
        asked = f"expected m{bound:g}" if config.mt_bench_mode == "expected" else f"T0 n{JUDGE_TOKENS}"
        return {
            "mode": config.mt_bench_mode,
            "judge": judge.name,
            "snapshot": judge.snapshot,
            "prompt": data.sha256(files.PROMPTS),
            "parameters": f"judge {asked}; answers T by category n{config.mt_bench_max_new_tokens}",
            "order": "both" if pairwise else "one answer",
            "reference": data.sha256(files.REFERENCES),
            "data": data.sha256(files.QUESTIONS),
            "limit": str(config.limit),
        } | ({"baseline": hash_file(self._baseline())} if pairwise else {})

    def _finished(self, setting: Setting, scored: Scored) -> Outcome:
        comparability = {
            "mode": "pairwise" if "order_agreement" in scored.rows[0].detail["measures"] else "single",
            "judge": scored.judge,
            "snapshot": "as the file says",
            "prompt": ", ".join(scored.prompts),
            "parameters": "finished judgments",
            "data": setting.data.sha256(files.QUESTIONS),
            "limit": str(setting.config.eval.limit),
        }
        return Outcome(scored.rows, f"{scored.judge} (finished judgments)", scored.metrics, comparability)


class MicroMtBench:
    """Two-turn questions of the embedded world, greedily answered and graded exactly; 0..5 becomes 1 + 9/5 of it."""

    key: ClassVar = "micro-mt-bench@1"
    description: ClassVar = described(key)
    needs_judge: ClassVar = False
    local_only: ClassVar = False

    def identity(self, setting: Setting) -> dict[str, object]:
        """See ``Benchmark``."""
        config = setting.config.eval
        return {
            "limit": config.limit,
            "max_new_tokens": config.mt_bench_max_new_tokens,
            "questions": hash_file(data_path("two_turn")),
        }

    def plan(self, setting: Setting) -> Plan:
        """See ``Benchmark``."""
        return Plan(_answer_calls(_micro_items(setting.config), setting.config.eval.mt_bench_max_new_tokens))

    def recognise(self, path: Path) -> None:
        """There are no finished files of this benchmark."""

    def run(self, subject: Subject) -> Outcome:
        """Answers in ``turn-1.jsonl`` and ``turn-2.jsonl``."""
        config = subject.config.eval
        items = _micro_items(subject.config)
        replies = converse(subject, items, config.mt_bench_max_new_tokens, lambda _: 0.0)
        rows = [_exact_row(item, turn, replies) for item in items for turn in TURNS]
        comparability = {
            "mode": "single",
            "judge": ORACLE,
            "parameters": f"answers T0 n{config.mt_bench_max_new_tokens}",
            "data": hash_file(data_path("two_turn")),
            "limit": str(config.limit),
        }
        return Outcome(rows, ORACLE, {}, comparability, _incomplete(rows))


def _micro_items(config: RunConfig) -> list[Item]:
    questions = jsonl.read(data_path("two_turn"), TwoTurnQuestion, unique=lambda q: q.id)[: config.eval.limit]
    return [Item(q.id, q.category, q.turns) for q in questions]


def _exact_row(item: Item, turn: TurnNumber, replies: Replies) -> SampleScore:
    given = said(item, turn, replies)
    points = None if given is None else dialogue.score(item.turns, given)
    reply = replies[item.id, turn]
    grade = None if points is None else 1 + 9 * points / 5
    return grade_row(item, turn, reply, grade if grade is not None else reply.reason or "unknown_task")


def _incomplete(rows: Sequence[SampleScore]) -> int:
    """Rows without a value for a reason that may pass."""
    return sum(r.value is None and may_pass(r.reason) for r in rows)


def _judging(subject: Subject) -> Judging:
    role = subject.setting.judge
    if role is None or role.engine is None:
        raise ConfigError(
            "MT-Bench's answers are graded by a judge model, and none that can write is named. Name one with --judge, "
            "or give a file of finished judgments."
        )
    if subject.config.eval.mt_bench_mode == "expected" and role.address:
        raise ConfigError(
            "eval.mt_bench_mode is 'expected', which reads the probabilities of grades behind the beginning of the "
            f"judge's own answer, and servers like {role.name} let nobody begin it. Name a judge whose weights are at "
            "hand, or set eval.mt_bench_mode to 'single'."
        )
    return Judging(subject, role, role.engine, JudgePrompts.load(subject.setting.data))


def _is_judged(setting: Setting) -> bool:
    return setting.finished is not None and setting.finished.kind != files.ANSWERS


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".jsonl")


def _size(messages: Sequence[Message]) -> int:
    """Tokens of a prompt, at most: a token is a byte or more."""
    return sum(len(m.content.encode()) for m in messages) + _FRAMING


def _answer_calls(items: Sequence[Item], new: int) -> Calls:
    size = sum(_size(_history(item, turn, {})) for item in items for turn in TURNS)
    calls = len(items) * len(TURNS)
    return Calls(calls, size + len(items) * new, calls * new)


def _answer_sizes(items: Sequence[Item], path: Path | None, otherwise: int) -> dict[Turn, int]:
    """Tokens of each turn's answer, at most: the longest in a file, or ``otherwise``."""
    sizes = {(item.id, turn): 0 if path else otherwise for item in items for turn in TURNS}
    for record in files.read_records(path, files.ModelAnswer) if path else ():
        for turn, text in zip(TURNS, record.choices[0].turns, strict=False):
            key = (str(record.question_id), turn)
            sizes[key] = max(sizes.get(key, 0), len(text.encode()))
    return sizes


# --- answers


def _temperature(item: Item) -> float:
    return TEMPERATURES.get(item.category, 0.7)


def converse(
    subject: Subject, items: Sequence[Item], max_new_tokens: int, temperature: Callable[[Item], float]
) -> Replies:
    """The subject's answers: all first turns, then all second turns with its own first answers in the history."""
    replies: Replies = {}
    for turn in TURNS:
        requests = {
            (item.id, turn): GenerationRequest(
                id=f"{item.id}/{turn}",
                prompt=_history(item, turn, replies),
                seeds=(derive_seed(subject.config.seed, "eval/mt-bench", item.id, turn),),
                temperature=temperature(item),
                max_new_tokens=max_new_tokens,
            )
            for item in items
            if turn == 1 or replies[item.id, 1].text is not None
        }
        found = ask(subject, f"turn-{turn}.jsonl", list(requests.values()))
        for item in items:
            if (item.id, turn) in requests:
                replies[item.id, turn] = _reply(found[f"{item.id}/{turn}"])
            else:
                replies[item.id, turn] = Reply(None, reason=replies[item.id, 1].reason)
    return replies


def _history(item: Item, turn: TurnNumber, replies: Mapping[Turn, Reply]) -> tuple[Message, ...]:
    messages = [Message(role="user", content=item.turns[0])]
    if turn == 2:
        first = replies.get((item.id, 1), Reply("")).text or ""
        messages.append(Message(role="assistant", content=first))
        messages.append(Message(role="user", content=item.turns[1]))
    return tuple(messages)


def _reply(answer: Completion | str) -> Reply:
    """Without the space around it, as FastChat takes it: a template may write one of its own into the second turn."""
    if isinstance(answer, str):
        return Reply(None, reason=answer)
    return Reply(answer.text.strip(), answer.finish_reason == "length")


def _file_replies(path: Path, items: Sequence[Item], model: str | None, *, exact: bool = False) -> Replies:
    found = files.read_answers(path, model, exact=exact)
    if not any(item.id in found for item in items):
        raise DataError(f"{path} answers none of the {len(items)} questions. Is it a file of another benchmark?")
    return {(item.id, turn): _file_reply(found.get(item.id, ()), turn) for item in items for turn in TURNS}


def _file_reply(turns: Sequence[str], turn: TurnNumber) -> Reply:
    if len(turns) < turn:
        return Reply(None, reason="not_in_file")
    failed = any(text.strip() in _FAILED_ANSWERS for text in turns[:turn])
    return Reply(None, reason="failed_answer") if failed else Reply(turns[turn - 1])
