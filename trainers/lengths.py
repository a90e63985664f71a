"""How long the texts of a run become, in tokens: at most, by its settings, and as the seed data has them.

The seed data is counted with the base's own tokenizer where it is there; without, a token is four characters.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from selfreward_bench.config import SEEDS, RunConfig
from selfreward_bench.errors import SrbenchError
from selfreward_bench.judges.pairwise import PairwiseJudge
from selfreward_bench.judges.prompts import JudgePrompt, load_judge_prompt
from selfreward_bench.types import Message
from trainers import seeds
from trainers.contests import validation_there

__all__ = ["Lengths", "Measured", "Span", "bounds", "measure"]

_MOST_RECORDS: Final = 20_000  # of seed data that are counted; more take minutes
_CHARACTERS: Final = 4  # of a token, where no tokenizer tells
_WORD: Final = 1.5  # tokens of a word, likewise
_FRAME: Final = 32  # tokens that a chat template puts around a text, likewise
_ASKING: Final = 120  # tokens around the examples that ask for a new prompt in chat (trainers/prompts.py)

Records = Sequence[tuple[str, tuple[Message, ...], tuple[Message, ...]]]


@dataclass(frozen=True, slots=True)
class Span:
    """Lengths of some records."""

    longest: int
    mean: float
    count: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What the seed data and the tokenizer say, whatever a run's bounds are.

    Attributes:
        ift, eft: examples as they are trained on; None where they cannot be counted.
        task: an instruction of the IFT data, by itself.
        frame: what the chat template puts around a text.
        rubric: the judge's prompt without the texts that are judged, in its frame.
        validation: prompts that checkpoints answer where a step is selected.
        comparing: the prompt that compares two of their answers, without these, in its frame.
        assumed: what stands in for what is not known, in words.
    """

    ift: Span | None = None
    eft: Span | None = None
    task: Span | None = None
    frame: int = _FRAME
    rubric: int = 0
    validation: Span | None = None
    comparing: int = 0
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lengths:
    """At most so many tokens have: the ``context`` that asks for a new prompt, a new ``prompt``, one with its answer or
    what else is preferred (``answered``), what a judge reads (``judged``), the longest example of ``ift`` and of all of
    ``sft``, a judgment that is rehearsed (0 where none is), a ``validation`` prompt, and what is read to compare two
    answers to it (``compared``)."""

    ift: int
    sft: int
    context: int
    prompt: int
    answered: int
    judged: int
    rehearsed: int = 0
    validation: int = 0
    compared: int = 0


def measure(config: RunConfig, directory: Path | None) -> Measured:
    """Counts the seed data.

    Args:
        directory: with the base's tokenizer; None where nothing is known of the base.
    """
    from trainers.rendering import load_tokenizer, render_turns

    judge = load_judge_prompt(config.judge.prompt)
    pairwise: tuple[Message, ...] = ()
    if config.select.every:
        pairwise = load_judge_prompt(config.select.prompt).render(_user("x"), response_a="x", response_b="x")
    try:
        if directory is None:
            raise SrbenchError("nothing is known of the base")
        tokenizer = load_tokenizer(
            directory,
            default_template=True,
            chat_template=config.chat_template,
            trust_remote_code=config.engine.trust_remote_code,
            date=config.engine.date,
        )
    except SrbenchError:
        rubric = len(judge.render(_user(""), response="")[0].content) // _CHARACTERS + _FRAME
        assumed = f"without a tokenizer {_CHARACTERS} characters are taken for a token and {_WORD} tokens for a word"
        comparing = sum(len(m.content) for m in pairwise) // _CHARACTERS + _FRAME if pairwise else 0
        return Measured(rubric=rubric, comparing=comparing, assumed=(assumed,))

    def lengths(records: Records) -> list[int]:
        return [len(turn) for turn in render_turns(tokenizer, records[:_MOST_RECORDS])]

    ift, eft = _ift(config), _eft(config, judge)
    frame = lengths([("", _user("x"), _assistant("x"))])[0] - 2
    rubric = lengths([("", judge.render(_user("x"), response="x"), _assistant("x"))])[0] - 3
    tasks = lengths([(name, prompt, _assistant("x")) for name, prompt, _ in ift])
    assumed = "" if ift and eft else "seed data that is not there is taken to be as long as sft.max_length lets it"
    asked = [(p.id, p.messages, _assistant("x")) for p in (validation_there(config) if pairwise else ())]
    return Measured(
        ift=_span(lengths(ift)),
        eft=_span(lengths(eft)),
        task=_span([max(n - frame - 1, 1) for n in tasks]),
        frame=frame,
        rubric=rubric,
        validation=_span([n - 1 for n in lengths(asked)]),
        comparing=lengths([("", pairwise, _assistant("x"))])[0] - 4 if pairwise else 0,
        assumed=(assumed,) if assumed else (),
    )


def bounds(config: RunConfig, measured: Measured, positions: int | None) -> Lengths:
    """The most that the settings allow, and the model has positions for."""
    most = positions or 10**9

    def trained(span: Span | None, given: int) -> int:
        return min(span.longest if span else given, given, most)

    prompts, shots = config.prompts, config.prompts.seed_shots
    task = round(prompts.max_words * _WORD)
    if measured.task:
        task = min(measured.task.longest, 2 * task)
    asking = _ASKING if prompts.format == "chat" else 0
    context = asking + shots * task + prompts.generated_shots * prompts.sampling.max_new_tokens + measured.frame
    written, own = prompts.sampling.max_new_tokens, config.candidates.sampling.max_new_tokens
    answer = own
    if prompts.writer == SEEDS:
        written = measured.task.longest if measured.task else config.sft.max_length
    if config.pairs.chosen_from == "human":  # of the seed data, or of a file that nobody counted
        known = measured.ift if prompts.writer == SEEDS else None
        answer = max(own, known.longest if known else config.dpo.max_length)
    prompt = written + measured.frame
    judged = measured.rubric + written + answer
    validation = measured.validation.longest if measured.validation else config.sft.max_length
    judgment = min(judged + written_by_judge(config), config.dpo.max_length, most)
    ift = trained(measured.ift, config.sft.max_length)
    return Lengths(
        ift=ift,
        sft=max(ift, trained(measured.eft, config.sft.max_length)),
        context=min(context, _before(most, prompts.sampling.max_new_tokens)),
        prompt=min(prompt, _before(most, own)),
        answered=max(min(prompt + answer, config.dpo.max_length, most), judgment if config.meta.by != "none" else 0),
        judged=min(judged, _before(most, written_by_judge(config))),
        rehearsed=judgment if config.rehearsal.what else 0,
        validation=min(validation, _before(most, own)),
        compared=min(measured.comparing + validation + 2 * own, _before(most, PairwiseJudge.sampling.max_new_tokens)),
    )


def written_by_judge(config: RunConfig) -> int:
    """Tokens of one judgment, at most."""
    return 0 if config.judge.mode == "expected" else config.judge.sampling.max_new_tokens


def _before(positions: int, new: int) -> int:
    """What a prompt may have where so many tokens must follow it."""
    return max(positions - new, 1)


def _ift(config: RunConfig) -> Records:
    if not seeds.is_there(config.seeds.ift):
        return []
    return [(e.id, e.prompt, e.completion) for e in seeds.load_ift(config.seeds, config.seed)]


def _eft(config: RunConfig, judge: JudgePrompt) -> Records:
    """Judge's prompt and review of each response; where there is none yet, the prompt alone."""
    if not seeds.is_there(config.seeds.eft):
        return []
    return [
        (f"{p.id}/{i}", judge.render(p.messages, response=r.text), _assistant(r.review or "x"))
        for p in seeds.load_eft(config.seeds, config.seed)
        for i, r in enumerate(p.responses)
    ]


def _span(lengths: Sequence[int]) -> Span | None:
    return Span(max(lengths), statistics.fmean(lengths), len(lengths)) if lengths else None


def _user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def _assistant(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)
