"""What the served models in a run's roles will be asked at most, told before anything is paid for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from selfreward_bench.config import SEEDS, RunConfig
from selfreward_bench.judges.pairwise import ORDERS, PairItem, PairwiseJudge
from selfreward_bench.judges.pointwise import JudgeItem
from selfreward_bench.models.bounds import Calls, generating, grading, pairing, total
from selfreward_bench.models.opening import served_name
from selfreward_bench.types import Example, Message
from trainers import roles, seeds
from trainers.contests import validation_there
from trainers.plan import Plan, StagePlan
from trainers.prompt_files import asked, load_examples, load_prompts
from trainers.prompts import examples_of, round_requests
from trainers.stages import stage_kind

__all__ = ["RoleCalls", "role_calls"]


@dataclass(frozen=True, slots=True)
class RoleCalls:
    """The calls of one role to a served model.

    Attributes:
        name: for people.
        model: as in a price table.
        calls: what remains of all its stages; given text has at most a token per byte.
    """

    role: str
    name: str
    model: str
    calls: Calls


def role_calls(config: RunConfig, plan: Plan) -> list[RoleCalls]:
    """Of each role that a served model has, with something left to do.

    Raises:
        DataError: the seed data, or the file of prompts, cannot be read.
    """
    found = []
    for role in roles.others(config):
        model = served_name(roles.given(config, role))
        kinds = {kind for kind, has in roles.STAGES.items() if has == role}
        stages = [s for s in plan.pending if s.remaining and stage_kind(s.name) in kinds]
        if model and stages:
            calls = total(_as_asked(_CALLS[role](config, stage), role, config) for stage in stages)
            found.append(RoleCalls(role, roles.shown(config, role), model, calls))
    return found


def _writing(config: RunConfig, stage: StagePlan) -> Calls:
    """Every continuation is a call; it shows the longest seed prompts, and written ones of full length."""
    section = config.prompts
    texts = examples_of(asked(_examples(config)), section) if seeds.is_there(config.seeds.ift) else [""]
    longest = sorted((_bytes(text) for text in texts), reverse=True)[: section.seed_shots + section.generated_shots]
    shots = ["x" * size for size in longest]
    (request,) = round_requests(section, 1, 0, shots, (), run_seed=config.seed, stage=stage.name)
    reads = generating([replace(request, n=1)]).prompt_tokens
    reads += section.generated_shots * max(section.sampling.max_new_tokens - longest[-1], 0)
    if not seeds.is_there(config.seeds.ift):
        reads += section.seed_shots * config.sft.max_length
    return _times(Calls(1, reads, section.sampling.max_new_tokens), stage.remaining * section.max_attempts_factor)


def _reviewing(config: RunConfig, stage: StagePlan) -> Calls:
    """The very responses that have no review, also those done; without the data, as long as SFT lets them be."""
    judge = config.judge.model_copy(update={"mode": "sampled", "samples": config.seeds.eft_samples})
    if not seeds.is_there(config.seeds.eft):
        return _times(_judgment(config, config.sft.max_length), stage.remaining)
    ranked = seeds.load_eft(config.seeds, config.seed)
    items = [
        JudgeItem(p.id, i, p.messages, r.text) for p in ranked for i, r in enumerate(p.responses) if r.review is None
    ]
    return replace(grading(judge, items), calls=stage.remaining)


def _judging(config: RunConfig, stage: StagePlan) -> Calls:
    """An answer may be as long as it is let be, as may a prompt that is not written yet; people's are as they are."""
    writer = config.prompts.writer
    prompt, answer = config.prompts.sampling.max_new_tokens, config.candidates.sampling.max_new_tokens
    if writer == SEEDS and not seeds.is_there(config.seeds.ift):
        prompt = answer = max(config.sft.max_length, answer)
    elif writer == SEEDS or roles.is_prompt_file(writer):
        by_people = config.pairs.chosen_from == "human"
        examples = _examples(config) if writer == SEEDS else load_examples(writer) if by_people else []
        given = asked(examples) or load_prompts(writer)
        prompt = max(sum(_bytes(m.content) for m in p.messages) for p in given)
        answer = max([answer, *(_bytes(e.completion[-1].content) for e in examples if by_people)])
    return _times(_judgment(config, prompt + answer), stage.remaining)


def _comparing(config: RunConfig, stage: StagePlan) -> Calls:
    """Both orders of each prompt with two answers of full length; without the prompts, as long as SFT lets them be."""
    judge = config.judge.model_copy(update={"prompt": config.select.prompt, "sampling": PairwiseJudge.sampling})
    asked = [PairItem(p.id, 0, p.messages, "", "") for p in validation_there(config)]
    longest = max((pairing(judge, [item]).prompt_tokens // len(ORDERS) for item in asked), default=0)
    if not longest:
        bare = pairing(judge, [PairItem("", 0, (Message(role="user", content=""),), "", "")])
        longest = bare.prompt_tokens // len(ORDERS) + config.sft.max_length
    read = longest + 2 * config.candidates.sampling.max_new_tokens
    return _times(Calls(1, read, PairwiseJudge.sampling.max_new_tokens), stage.remaining)


_CALLS: Final[dict[str, Callable[[RunConfig, StagePlan], Calls]]] = {
    roles.WRITER: _writing,
    roles.REVIEWER: _reviewing,
    roles.JUDGE: _judging,
    roles.SELECTOR: _comparing,
}


def _judgment(config: RunConfig, unwritten: int) -> Calls:
    """One, in words, of texts that are not there yet."""
    judge = config.judge.model_copy(update={"mode": "sampled", "samples": 1})
    return grading(judge, [JudgeItem("", 0, (Message(role="user", content=""),), "")], unwritten)


def _as_asked(calls: Calls, role: str, config: RunConfig) -> Calls:
    """With the tokens that a judge may take by its own settings."""
    most = 0 if role == roles.WRITER else config.judge.request.max_tokens or 0
    return replace(calls, completion_tokens=max(calls.completion_tokens, calls.calls * most))


def _times(one: Calls, count: int) -> Calls:
    return Calls(count, count * one.prompt_tokens, count * one.completion_tokens)


def _examples(config: RunConfig) -> list[Example]:
    return seeds.load_ift(config.seeds, config.seed)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
