"""The drift matrix: every checkpoint of a run judges the same responses, so that change in the judge can be seen.

The pool is what the checkpoints answered before (nothing is generated for it), and a human-ranked slice where there is
one. Equal answers to one prompt are one response, judged once. Judgments are stored and resumed like any other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final

from leaderboards import chain
from leaderboards.base import Subject, judgments, measures
from leaderboards.judge_accuracy.agreement import agreement_rows
from leaderboards.pooled import pooled_kendall, pooled_spearman
from leaderboards.standings import AuthorScore, DriftJudge, DriftMatrix, JudgeAgreement
from selfreward_bench import stats
from selfreward_bench.errors import DataError
from selfreward_bench.judges.pointwise import JudgeItem, PointwiseJudge, rewards
from selfreward_bench.micro import oracle
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Completion, Judgment, Metric, Prompt, RankedPrompt, SampleScore

__all__ = ["HUMAN", "Entry", "Pool", "answer_pool", "drift_matrix", "judge_pool", "micro_pool", "ranked_pool"]

HUMAN: Final = "human"  # author of a human-ranked slice
POOL_PROMPTS: Final = 64


@dataclass(frozen=True)
class Entry:
    """One author's answer to one prompt.

    Attributes:
        truth: what is right, more is better, comparable within a prompt; None where nobody knows.
    """

    author: str
    prompt_id: str
    item: JudgeItem
    truth: float | None = None


@dataclass(frozen=True)
class Pool:
    """What all judges of a matrix judge. Entries with equal answers share an item."""

    entries: tuple[Entry, ...]

    @property
    def items(self) -> list[JudgeItem]:
        """Every distinct response."""
        return list({e.item.id: e.item for e in self.entries}.values())

    @property
    def authors(self) -> list[str]:
        """In the order of training, or of the entries; people last."""
        names = dict.fromkeys(e.author for e in self.entries)
        return chain.in_turn(n for n in names if n != HUMAN) + [HUMAN] * (HUMAN in names)

    @property
    def content_hash(self) -> str:
        """Of who wrote what and what is right about it."""
        content = [[e.author, e.prompt_id, e.item.id, e.truth] for e in self.entries]
        return hashlib.sha256(json.dumps(sorted(content, key=str)).encode()).hexdigest()

    def __add__(self, other: Pool) -> Pool:
        """Both pools as one."""
        return Pool(self.entries + other.entries)


# --- what is judged


def micro_pool(evaluations: Mapping[str, Path], prompts: Sequence[Prompt], *, n_prompts: int = POOL_PROMPTS) -> Pool:
    """The first sampled answer of each checkpoint to each of the first prompts, with the oracle's grades as truth.

    Truncated answers are judged and graded as they stand. Prompts that a checkpoint did not answer (a server's error,
    a spent budget) are left out for it.

    Args:
        evaluations: checkpoint -> its directory of ``micro-quality@1``, which holds ``answers.jsonl``.
        prompts: ``leaderboards.micro.test_prompts(config)``.

    Raises:
        DataError: a checkpoint was not evaluated, or its answers are damaged.
    """
    texts: dict[str, dict[str, str]] = {}
    for name, folder in evaluations.items():
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such directory, so {name} has no answers. Evaluate it first.")
        found = jsonl.resume(folder / "answers.jsonl", Completion, unique=lambda c: c.id)
        texts[name] = {c.prompt_id: c.text for c in found if c.index == 0}
    return answer_pool(prompts[:n_prompts], texts, truth=oracle.score)


def answer_pool(
    prompts: Sequence[Prompt],
    answers: Mapping[str, Mapping[str, str]],
    *,
    truth: Callable[[str, str], float | None] | None = None,
) -> Pool:
    """The checkpoints' answers to the same prompts.

    Args:
        answers: author -> prompt id -> answer; prompts that an author did not answer are left out for it.
        truth: grades an answer, given the prompt's text and the answer's; None where nobody can.
    """
    return Pool(
        tuple(
            Entry(
                author,
                p.id,
                JudgeItem(_response_id(p.id, text), 0, p.messages, text),
                truth(p.text, text) if truth is not None else None,
            )
            for author, texts in answers.items()
            for p in prompts
            if (text := texts.get(p.id)) is not None
        )
    )


def ranked_pool(ranked: Sequence[RankedPrompt]) -> Pool:
    """A human-ranked slice; its author is ``human``, what is right are the ranks."""
    named = [(f"{HUMAN}:{r.id}", r) for r in ranked]  # ranks and an oracle's grades of one prompt must not be mixed
    return Pool(
        tuple(
            Entry(HUMAN, name, JudgeItem(_response_id(name, x.text), 0, r.messages, x.text), -float(x.rank))
            for name, r in named
            for x in r.responses
        )
    )


def _response_id(prompt_id: str, text: str) -> str:
    """Of the content, so that judgments of another answer are never taken for this one's."""
    return f"{prompt_id}#{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def judge_pool(subject: Subject, pool: Sequence[JudgeItem], fingerprint: str = "") -> list[Judgment]:
    """The subject's judgments of ``Pool.items``, asked for as ``config.judge`` says and stored in its directory.

    Seeds do not depend on the judge, so that judges are compared on the same draws. Judgments by other weights or
    settings are in other files; what is stored of responses that are no longer in the pool is left out.

    Args:
        fingerprint: what the subject is as a judge (``Model.snapshot``); may be left out where the directory belongs
            to it alone.
    """
    config = subject.config
    judge = PointwiseJudge.from_config(
        subject.engine, config.judge, run_seed=config.seed, stage="eval/drift", checkpoint=subject.name
    )
    file = f"judgments-{hash_json([judge.key, config.seed, fingerprint])[:12]}.jsonl"
    wanted = {item.id for item in pool}
    return [j for j in judgments(subject, file, judge, pool) if f"{j.prompt_id}/{j.index}" in wanted]


# --- the matrix


def drift_matrix(
    pool: Pool, judged: Mapping[str, Sequence[Judgment]], *, fingerprints: Mapping[str, str] | None = None
) -> DriftMatrix:
    """All judges of one pool against each other, and against what is right.

    Args:
        judged: judge -> its judgments of ``pool.items`` (``judge_pool``), each judge being an author's name where it
            wrote answers too.
        fingerprints: judge -> fingerprint of its weights.

    Raises:
        DataError: a judge judged nothing.
    """
    judges = chain.in_turn(judged)
    for name in judges:
        if not judged[name]:
            raise DataError(f"{name} judged none of the pool's responses; there is nothing to compare.")
    scores = {name: {r.prompt_id: r.score for r in rewards(judged[name])} for name in judges}
    return DriftMatrix(
        judges=tuple(_judge(n, pool, judged[n][0].judge, scores, (fingerprints or {}).get(n, "")) for n in judges),
        authors=tuple(pool.authors),
        scores=tuple(
            AuthorScore(judge=n, author=a, score=_mean(pool, scores[n], {a})) for n in judges for a in pool.authors
        ),
        agreement=tuple(_agreement(a, b, pool, scores) for a, b in combinations(judges, 2)),
        pool_hash=pool.content_hash,
        n_prompts=len({e.prompt_id for e in pool.entries}),
        n_responses=len(pool.items),
    )


Scores = Mapping[str, float | None]  # id of the response -> score


def _judge(name: str, pool: Pool, key: str, scores: Mapping[str, Scores], fingerprint: str) -> DriftJudge:
    known = [e for e in _distinct(pool) if e.truth is not None]
    mine = [scores[name].get(e.item.prompt_id) for e in known]
    truth = [e.truth for e in known]
    accuracy = _accuracy(known, mine)
    return DriftJudge(
        name=name,
        key=key,
        fingerprint=fingerprint,
        mean_score=_mean(pool, scores[name], set(pool.authors)),
        accuracy=accuracy,
        truth_spearman=pooled_spearman(mine, truth, [e.prompt_id for e in known]) if known else None,
        own_advantage=_own_advantage(name, pool, scores),
    )


def _distinct(pool: Pool) -> list[Entry]:
    return list({e.item.id: e for e in pool.entries}.values())


def _mean(pool: Pool, scores: Scores, authors: set[str]) -> Metric:
    entries = [e for e in pool.entries if e.author in authors]
    return stats.mean_interval([scores.get(e.item.prompt_id) for e in entries], [e.prompt_id for e in entries])


def _accuracy(known: Sequence[Entry], mine: Sequence[float | None]) -> Metric | None:
    """Over pairs of responses to one prompt that are truly unlike."""
    groups: dict[str, list[tuple[float | None, float | None]]] = {}
    for e, score in zip(known, mine, strict=True):
        groups.setdefault(e.prompt_id, []).append((score, e.truth))
    rows: list[SampleScore] = []
    for prompt_id, pairs in groups.items():
        rows += agreement_rows("", prompt_id, [s for s, _ in pairs], [t for _, t in pairs], order=False)
    if not rows:
        return None
    found = [measures(r)["pairwise_accuracy"] for r in rows]
    return stats.mean_interval(found, [r.cluster for r in rows], bounds=(0, 1))


def _agreement(a: str, b: str, pool: Pool, scores: Mapping[str, Scores]) -> JudgeAgreement:
    entries = _distinct(pool)
    left = [scores[a].get(e.item.prompt_id) for e in entries]
    right = [scores[b].get(e.item.prompt_id) for e in entries]
    clusters = [e.prompt_id for e in entries]
    groups: dict[str, tuple[list[float | None], list[float | None]]] = {}
    for x, y, cluster in zip(left, right, clusters, strict=True):
        group = groups.setdefault(cluster, ([], []))
        group[0].append(x)
        group[1].append(y)
    return JudgeAgreement(
        a=a,
        b=b,
        spearman=pooled_spearman(left, right, clusters),
        kendall_tau_b=pooled_kendall(left, right, clusters),
        within_kendall=stats.mean_interval(
            [stats.kendall_tau_b(x, y) for x, y in groups.values() if len(x) > 1],
            [cluster for cluster, (x, _) in groups.items() if len(x) > 1],
            bounds=(-1, 1),
        ),
    )


def _own_advantage(name: str, pool: Pool, scores: Mapping[str, Scores]) -> Metric | None:
    """Prompt by prompt, over judges that wrote answers; a prompt counts where all of them have all scores."""
    by_prompt: dict[str, dict[str, str]] = {}
    for e in pool.entries:
        if e.author != HUMAN:
            by_prompt.setdefault(e.prompt_id, {})[e.author] = e.item.prompt_id
    others = [judge for judge in scores if judge != name]
    authors = [a for a in pool.authors if a not in (HUMAN, name)]
    if name not in pool.authors or not others or not authors:
        return None
    gaps = [
        _difference(_gap(scores[name], ids, name, authors), [_gap(scores[o], ids, name, authors) for o in others])
        for ids in by_prompt.values()
    ]
    return stats.mean_interval(gaps, list(by_prompt))


def _gap(scores: Scores, ids: Mapping[str, str], own: str, authors: Iterable[str]) -> float | None:
    """How much a judge prefers an author's answer to the mean of the others'."""
    mine = scores.get(ids.get(own, ""))
    rest = [scores.get(ids.get(a, "")) for a in authors]
    known = [r for r in rest if r is not None]
    return None if mine is None or len(known) < len(rest) else mine - sum(known) / len(known)


def _difference(mine: float | None, others: Sequence[float | None]) -> float | None:
    known = [o for o in others if o is not None]
    return None if mine is None or len(known) < len(others) else mine - sum(known) / len(known)
