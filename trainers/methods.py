"""Which settings make a method: what cannot be together is refused before anything is made, with the key to change.

The methods are in docs/methods.md, their stages in ``trainers.variants``.
"""

from __future__ import annotations

from collections.abc import Iterator

from selfreward_bench.config import SEEDS, RunConfig
from selfreward_bench.errors import ConfigError, SrbenchError
from selfreward_bench.judges.prompts import load_judge_prompt
from trainers import answer_sources, prompt_files, roles
from trainers.roles import ORACLE

__all__ = ["check", "problems"]

_GRADES = ("self", "random", "oracle")  # rewards on the judge's scale


def problems(config: RunConfig) -> Iterator[str]:
    """``KEY: MESSAGE`` for methods that cannot be with the other settings."""
    by_itself = config.rewards == "self" and config.judge.model == "self"
    if (
        prompt_files.needed(config)
        and config.prompts.writer != SEEDS
        and not roles.is_prompt_file(config.prompts.writer)
    ):
        yield (
            "prompts.writer: this method needs prompts that come with an answer. Set prompts.writer to seeds (those of "
            "seeds.ift), or to a file of instructions with answers (docs/formats.md)."
        )
    if config.rewards == "human" and config.pairs.chosen_from != "human":
        yield "pairs.chosen_from: rewards: human prefers what people wrote; set pairs.chosen_from to human."
    if config.rewards in ("human", "verifiable") and config.pairs.min_gap > 1:
        yield f"pairs.min_gap: rewards: {config.rewards} is 1 or 0, so no two answers are further apart; set it to 1."
    if config.rewards == "reward-model" and config.reward_model.name is None:
        yield "reward_model.name: rewards: reward-model needs one: a directory, or OWNER/NAME[@REVISION]."
    if config.candidates.count > answer_sources.BLOCK:
        yield f"candidates.count: at most {answer_sources.BLOCK:,} answers to a prompt are told apart."
    if config.meta.by != "none" and not (by_itself and config.judge.mode == "sampled" and config.judge.samples > 1):
        yield (
            "meta.by: preferences between a model's own judgments need several of each answer, in words: rewards: "
            "self, judge.model: self, judge.mode: sampled and judge.samples of at least 2."
        )
    if config.consistency and not (by_itself and config.dpo.loss == "sigmoid" and not config.dpo.label_smoothing):
        yield (
            "consistency: CREAM sets the label smoothing of the sigmoid loss, by two of the run's own judges: rewards: "
            "self, judge.model: self, dpo.loss: sigmoid, dpo.label_smoothing: 0."
        )
    if config.rehearsal.alone and not config.rehearsal.what:
        yield "rehearsal.alone: nothing is rehearsed, so the pairs would be trained as ever; set rehearsal.what, too."
    yield from _without_a_second_round(config)
    yield from _positives(config)
    yield from _selection(config)
    if config.meta.by == "elo":
        yield from _pairwise("meta.prompt", config.meta.prompt)


def _without_a_second_round(config: RunConfig) -> Iterator[str]:
    later = {
        "rewards: implicit": config.rewards == "implicit",
        "consistency": config.consistency,
        f"pairs.rejected_from: {config.pairs.rejected_from}": config.pairs.rejected_from != "own",
    }
    for name, wanted in later.items():
        if wanted and config.iterations == 1:
            yield f"iterations: {name} begins with M3 and would change nothing in one round; set it to at least 2."


def _positives(config: RunConfig) -> Iterator[str]:
    if config.learn != "positives":
        return
    sides = {config.pairs.chosen_from, config.pairs.rejected_from}
    if sides != {"own"} or config.meta.by != "none" or config.consistency:
        yield "learn: positives trains no preferences: pairs.chosen_from, rejected_from, meta, consistency do nothing."
    if config.rewards not in _GRADES:
        yield (
            f"learn: positives takes the answers with the judge's top grade, and rewards: {config.rewards} is on "
            f"another scale; set rewards to {', '.join(_GRADES[:-1])} or {_GRADES[-1]}."
        )
    if config.select.every:
        yield "select.every: learn: positives trains no preferences, whose steps could be compared; set it to null."


def _selection(config: RunConfig) -> Iterator[str]:
    who = _selector(config)
    if who == ORACLE and config.base != "micro":
        yield "select.judge: oracle goes with the embedded micro-world (base: micro). Name a model, or take self."
    if who and who != ORACLE:
        yield from _pairwise("select.prompt", config.select.prompt)


def _selector(config: RunConfig) -> str | None:
    return config.select.judge if config.select.every else None


def _pairwise(key: str, name: str) -> Iterator[str]:
    try:
        if load_judge_prompt(name).kind != "pairwise":
            yield f"{key}: {name!r} grades one answer; comparing two needs a prompt of kind pairwise."
    except SrbenchError as error:
        yield f"{key}: {error}"


def check(config: RunConfig, *, oracle: bool) -> None:
    """Refuses what cannot be.

    Args:
        oracle: whether true grades are known.

    Raises:
        ConfigError: naming all of it, each with its key.
    """
    found = list(problems(config))
    for key, wanted in (("rewards", config.rewards == ORACLE), ("select.judge", _selector(config) == ORACLE)):
        if wanted and not oracle:
            found.append(f"{key}: oracle needs somebody who knows the true grades (run_iteration's argument oracle).")
    if found:
        raise ConfigError("The settings do not make a method:\n" + "\n".join(f"  {text}" for text in found))
