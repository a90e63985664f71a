"""``micro-judge-accuracy@1``: how well a checkpoint judges, asked the way its run asks it for rewards.

Its judgments are held against human ranks and against the oracle on the same fixed answers, and against the oracle on
answers of its own, which is what it has to rank in training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import ClassVar, Final

from leaderboards.base import Calls, Outcome, Plan, Setting, Subject, answers, judgments, row
from leaderboards.micro import test_prompts
from selfreward_bench import jsonl, stats
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.judges.pointwise import JudgeItem, PointwiseJudge, rewards
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.micro import data_path, oracle, rankings_name
from selfreward_bench.rundir import hash_file
from selfreward_bench.seeding import derive_seed
from selfreward_bench.types import Completion, Judgment, Metric, Prompt, RankedPrompt, SampleScore

__all__ = ["JudgeAccuracy", "agreement_rows"]

OWN_PROMPTS: Final = 160
OWN_SAMPLES: Final = 4


class JudgeAccuracy:
    """Agreement of a checkpoint's judgments with human ranks and with the oracle."""

    key: ClassVar = "micro-judge-accuracy@1"
    paired: ClassVar = ("pairwise_accuracy", "spearman", "exact_match", "oracle_pairwise_accuracy", "oracle_spearman")

    needs_judge: ClassVar = False

    def identity(self, setting: Setting) -> dict[str, object]:
        """See ``Benchmark``."""
        config = setting.config
        return {
            "seed": config.seed,
            "judge": config.judge,
            "judge_prompt": load_judge_prompt(config.judge.prompt).key,
            "own": [OWN_PROMPTS, OWN_SAMPLES, config.eval.sampling.max_new_tokens],
            "limit": config.eval.limit,
            "prompts": hash_file(data_path(config.eval.split)),
            "rankings": hash_file(data_path(rankings_name(config.eval.split))),
        }

    def plan(self, setting: Setting) -> Plan:
        """See ``Benchmark``."""
        config = setting.config
        own = len(test_prompts(config)[:OWN_PROMPTS]) * OWN_SAMPLES
        per_response = config.judge.samples if config.judge.mode == "sampled" else 1
        judged = own + sum(len(r.responses) for r in _rankings(config))
        return Plan(Calls(own), Calls(per_response * judged))

    def recognise(self, path: Path) -> None:
        """There are no finished files of this benchmark."""

    def run(self, subject: Subject) -> Outcome:
        """Judgments in ``judgments.jsonl``; own answers in ``own-answers.jsonl``, judged in ``own-judgments.jsonl``."""
        ranked, prompts = _rankings(subject.config), test_prompts(subject.config)[:OWN_PROMPTS]
        judge = _judge(subject, "eval/judge-accuracy")
        judged = judgments(subject, "judgments.jsonl", judge, _ranked_items(ranked))
        own = _own_answers(subject, prompts)
        own_judge = _judge(subject, "eval/judge-accuracy/own")
        own_judged = judgments(subject, "own-judgments.jsonl", own_judge, _own_items(prompts, own))
        rows = _fixed_rows(ranked, _scores(judged))
        own_rows, pooled = _own_rows(prompts, own, _scores(own_judged))
        failed = stats.mean_interval([float(j.score is None) for j in judged], [j.prompt_id for j in judged])
        return Outcome([*rows, *own_rows], judge.key, {"parse_failures": failed, "own_spearman_pooled": pooled})


def _rankings(config: RunConfig) -> list[RankedPrompt]:
    file = data_path(rankings_name(config.eval.split))
    return jsonl.read(file, RankedPrompt, unique=lambda r: r.id)[: config.eval.limit]


def _judge(subject: Subject, stage: str) -> PointwiseJudge:
    """Seeds do not depend on the checkpoint, so that two checkpoints are compared on the same draws."""
    config = subject.config
    return PointwiseJudge.from_config(
        subject.engine, config.judge, run_seed=config.seed, stage=stage, checkpoint=subject.name
    )


def _ranked_items(ranked: Sequence[RankedPrompt]) -> list[JudgeItem]:
    return [JudgeItem(r.id, i, r.messages, response.text) for r in ranked for i, response in enumerate(r.responses)]


def _own_answers(subject: Subject, prompts: Sequence[Prompt]) -> dict[str, Completion]:
    seed, limit = subject.config.seed, subject.config.eval.sampling.max_new_tokens
    requests = [
        GenerationRequest(
            id=p.id,
            prompt=p.messages,
            n=OWN_SAMPLES,
            seeds=tuple(derive_seed(seed, "eval/judge-accuracy/own", p.id, k) for k in range(OWN_SAMPLES)),
            temperature=1.0,
            max_new_tokens=limit,
        )
        for p in prompts
    ]
    return {c.id: c for c in answers(subject, "own-answers.jsonl", requests)}


def _own_items(prompts: Sequence[Prompt], own: dict[str, Completion]) -> list[JudgeItem]:
    found = ((p, k, own.get(f"{p.id}/{k}")) for p in prompts for k in range(OWN_SAMPLES))
    return [JudgeItem(p.id, k, p.messages, answer.text) for p, k, answer in found if answer is not None]


def _scores(judged: Iterable[Judgment]) -> dict[str, float | None]:
    return {reward.id: reward.score for reward in rewards(judged)}


# --- agreement


def _fixed_rows(ranked: Sequence[RankedPrompt], scores: dict[str, float | None]) -> list[SampleScore]:
    rows: list[SampleScore] = []
    for r in ranked:
        judged = [scores.get(f"{r.id}/{i}") for i in range(len(r.responses))]
        prompt = next(m.content for m in reversed(r.messages) if m.role == "user")
        truth = [oracle.score(prompt, response.text) for response in r.responses]
        rows += agreement_rows("", r.id, judged, [-response.rank for response in r.responses])
        rows += agreement_rows("oracle_", r.id, judged, truth)
    return rows


def _own_rows(
    prompts: Sequence[Prompt], own: dict[str, Completion], scores: dict[str, float | None]
) -> tuple[list[SampleScore], Metric]:
    rows: list[SampleScore] = []
    all_judged: list[float | None] = []
    all_truth: list[float | None] = []
    for p in prompts:
        ids = [f"{p.id}/{k}" for k in range(OWN_SAMPLES)]
        truth = [_truth(p, own.get(i)) for i in ids]
        judged = [scores.get(i) for i in ids]
        rows += agreement_rows("own_", p.id, judged, truth)
        all_judged += judged
        all_truth += truth
    scored = sum(x is not None and y is not None for x, y in zip(all_judged, all_truth, strict=True))
    return rows, Metric(value=stats.spearman(all_judged, all_truth), n_scored=scored, n_total=len(all_truth))


def _truth(prompt: Prompt, answer: Completion | None) -> int | None:
    return None if answer is None or answer.finish_reason == "length" else oracle.score(prompt.text, answer.text)


def agreement_rows(
    prefix: str, cluster: str, judged: Sequence[float | None], truth: Sequence[float | None]
) -> list[SampleScore]:
    """Rows for each pair of responses to one prompt that truth tells apart, and one for their whole order.

    A pair is unscored when a judgment or the truth of one of them is missing. A rank correlation is unscored when it is
    undefined (the judge gives all responses one score); where truth tells no two responses apart there are no rows.

    Args:
        prefix: of the metrics' names.
        judged: one score per response.
        truth: what is right; more is better.
    """
    rows = [
        row(f"{prefix}pair/{cluster}/{i}-{j}", cluster, _pair(prefix, judged[i], judged[j], truth[i], truth[j]))
        for i, j in combinations(range(len(truth)), 2)
        if truth[i] is None or truth[j] is None or truth[i] != truth[j]
    ]
    rows = [r if r.value is not None else r.model_copy(update={"reason": "no_verdict_or_truth"}) for r in rows]
    if len({t for t in truth if t is not None}) < 2:
        return rows
    complete = None not in judged and None not in truth
    order = {
        f"{prefix}spearman": stats.spearman(judged, truth) if complete else None,
        f"{prefix}kendall_tau_b": stats.kendall_tau_b(judged, truth) if complete else None,
        f"{prefix}exact_match": float(all(r.value == 1 for r in rows)) if complete else None,
    }
    undefined = "constant_scores" if complete else "no_verdict_or_truth"
    reason = undefined if order[f"{prefix}spearman"] is None else None
    return [*rows, row(f"{prefix}order/{cluster}", cluster, order, reason=reason)]


def _pair(
    prefix: str, judged_a: float | None, judged_b: float | None, truth_a: float | None, truth_b: float | None
) -> dict[str, float | None]:
    known = truth_a is not None and truth_b is not None
    better_first = known and truth_a > truth_b  # type: ignore[operator]
    scores = (judged_a, judged_b) if known else (None, None)
    counts = stats.pairwise_accuracy([(scores, (0, 1) if better_first else (1, 0))])
    values = {
        f"{prefix}pairwise_accuracy": counts.accuracy("half"),
        f"{prefix}pairwise_accuracy_ties_wrong": counts.accuracy("wrong"),
        f"{prefix}tie_rate": counts.tie_rate,
    }
    if not counts.n_ties:  # a tie is left out of this one altogether: it is neither scored nor missing
        values[f"{prefix}pairwise_accuracy_ties_dropped"] = counts.accuracy("drop")
    return values
