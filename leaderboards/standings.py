"""What evaluation leaves behind, as records: results per checkpoint, comparisons per run. Nothing is computed here.

    runs/NAME/M2/eval/micro-quality@1/result.json    EvalResult, written last
                                      scores.jsonl   SampleScore, one per sample; its numbers: ``detail["measures"]``
                                      failure.json   why there is no result.json
    runs/NAME/standings.json                         Standings: the checkpoints against each other

Reports read these files, and the records of rooms beside them: they import records and how benchmarks are described,
and nothing of ``leaderboards`` that evaluates.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import Field, ValidationError

from leaderboards import chain, descriptions
from selfreward_bench.errors import DataError, UnknownNameError
from selfreward_bench.storage.files import os_errors, write_atomic
from selfreward_bench.types import EvalResult, Metric, Record

__all__ = [
    "CHOSEN",
    "PAIRS",
    "REJECTED",
    "AuthorScore",
    "DriftJudge",
    "DriftMatrix",
    "Failure",
    "HeadToHead",
    "JudgeAgreement",
    "MetricDifference",
    "Positions",
    "Rating",
    "Standings",
    "Tournament",
    "evaluated_models",
    "keys_of",
    "read_drift",
    "read_failure",
    "read_record",
    "read_result",
    "read_standings",
    "read_tournament",
    "short_names",
    "write_record",
]

RESULT: Final = "result.json"
SCORES: Final = "scores.jsonl"
FAILURE: Final = "failure.json"
STANDINGS: Final = "standings.json"
MATCHES: Final = "head-to-head"  # directory of a run's tournament
TOURNAMENT: Final = "head_to_head.json"
PAIRS: Final = "pairs"  # in it, of what each model was trained on: CHOSEN held against REJECTED
CHOSEN: Final = "chosen"
REJECTED: Final = "rejected"
DRIFT: Final = "drift.json"

_FEW: Final = 12  # decided comparisons
_LEVEL: Final = 0.05

R = TypeVar("R", bound=Record)

_MAX_BYTES = 8 * 2**20  # a larger file is none of ours


class Failure(Record):
    """Why a benchmark has no result for a checkpoint."""

    checkpoint: str
    fingerprint: str
    benchmark: str
    error: str
    message: str


class MetricDifference(Record):
    """Mean of ``a - b`` over the samples both checkpoints have, with its paired 95% interval and its p-value.

    Attributes:
        paired: False where each was scored on samples of its own, such as judgments of its own answers.
        detectable: the smallest true difference that these samples would have shown with a power of 80%.
    """

    benchmark: str
    metric: str
    a: str
    b: str
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    n: int
    n_total: int
    detectable: float | None = None
    paired: bool = True

    @property
    def direction(self) -> Literal[-1, 0, 1]:
        """+1 or -1 where the interval excludes zero, else 0; a bound that is zero but for rounding does not."""
        if self.low is None or self.high is None:
            return 0
        rounding = 1e-6 * (self.high - self.low)
        return 1 if self.low > rounding else -1 if self.high < -rounding else 0


class Positions(Record):
    """What a judge made of the place an answer was shown in, over all comparisons it saw in both orders.

    Attributes:
        consistency: share of the ``n_both`` comparisons whose two orders agree (a tie agrees with a tie only).
        first_preferred: share of the ``n_decided`` single verdicts that are no tie and prefer what was shown first.
    """

    consistency: float | None
    first_preferred: float | None
    n_both: int
    n_decided: int


class HeadToHead(Record):
    """Answers of two checkpoints to the same prompts, compared by one judge.

    Attributes:
        win_rate: share of comparisons ``a`` wins, a tie counting half; ``low``, ``high``: interval clustered by prompt.
        p_value: sign-flip test of the win rate against 1/2.
        win, tie, loss: shares of the scored comparisons, from the side of ``a``; ``wins``, ... are the counts.
        n_scored, n_total: comparisons; one with an unscored answer or judgment is not scored.
        net_win: win - loss, with its interval.
        sign_p_value: exact two-sided sign test over prompts won and lost, tied ones left out; None when all are tied.
        n_identical: ties nobody was asked about: both answers are the same text.
        positions: None where the judge sees no order, or saw one only.
        reasons: why comparisons are unscored -> how many.
        comparability: what two numbers must share to be compared.
    """

    benchmark: str
    judge: str
    a: str
    b: str
    win_rate: float | None
    low: float | None
    high: float | None
    p_value: float | None
    win: float | None
    tie: float | None
    loss: float | None
    n_scored: int
    n_total: int
    n_prompts: int
    wins: int = 0
    ties: int = 0
    losses: int = 0
    net_win: Metric | None = None
    sign_p_value: float | None = None
    n_identical: int = 0
    positions: Positions | None = None
    reasons: dict[str, int] = Field(default_factory=dict)
    comparability: dict[str, str] = Field(default_factory=dict)

    @property
    def direction(self) -> Literal[-1, 0, 1]:
        """+1 or -1 where the interval excludes one half, as ``MetricDifference.direction`` does zero, else 0.

        Where few comparisons are decided, an interval drawn from them promises too much: the exact test has to agree.
        """
        if self.low is None or self.high is None:
            return 0
        if 0 < self.wins + self.losses <= _FEW and (self.sign_p_value is None or self.sign_p_value > _LEVEL):
            return 0
        rounding = 1e-6 * (self.high - self.low)
        return 1 if self.low > 0.5 + rounding else -1 if self.high < 0.5 - rounding else 0


class Rating(Record):
    """A checkpoint's Bradley-Terry rating on the Elo scale, relative to an anchor: 400 points are odds of 10 to 1.

    Attributes:
        rating: None where no chain of comparisons leads to the anchor.
        low, high: bootstrap interval of the difference to the anchor, clustered by prompt; the anchor has none.
        n_scored, n_total: comparisons of this checkpoint.
    """

    checkpoint: str
    rating: float | None
    low: float | None = None
    high: float | None = None
    n_scored: int
    n_total: int


class Tournament(Record):
    """Checkpoints against each other, all pairs on the same prompts under one judge.

    Attributes:
        checkpoints: name -> fingerprint of the weights that answered, in the order of training.
        rule: how the two orders of a comparison become one result.
        anchor: the checkpoint whose rating is 1000.
        incomplete: judgments without a verdict; the next call asks for them again.
        notes: what a reader must know, such as checkpoints no rating could be given.
    """

    format: Literal[1] = 1
    benchmark: str
    checkpoints: dict[str, str]
    judge: str
    rule: str
    anchor: str
    n_prompts: int
    pairs: tuple[HeadToHead, ...]
    ratings: tuple[Rating, ...]
    comparability: dict[str, str]
    incomplete: int = 0
    notes: tuple[str, ...] = ()


class JudgeAgreement(Record):
    """How alike two judges score the same responses.

    Attributes:
        spearman, kendall_tau_b: over all responses at once; intervals keep each prompt's responses together.
        within_kendall: mean over prompts of tau-b of one prompt's responses: do they rank alike what is compared?
    """

    a: str
    b: str
    spearman: Metric
    kendall_tau_b: Metric
    within_kendall: Metric


class AuthorScore(Record):
    """The mean score a judge gives to an author's answers, interval clustered by prompt."""

    judge: str
    author: str
    score: Metric


class DriftJudge(Record):
    """One judge of a drift matrix.

    Attributes:
        key: how it was asked (judge prompt, mode, checkpoint); ``fingerprint``: of its weights, where it is known.
        accuracy: pairwise accuracy against what is right (an oracle, or human ranks), a tie counting half; None where
            nothing in the pool is known to be right. ``truth_spearman``: over all such responses.
        own_advantage: how much more it thinks of its own answers than the other judges do, in its scale's points:
            (own - others' answers, by this judge) - (the same by the other judges); None where it wrote none.
    """

    name: str
    key: str
    fingerprint: str = ""
    mean_score: Metric
    accuracy: Metric | None = None
    truth_spearman: Metric | None = None
    own_advantage: Metric | None = None


class DriftMatrix(Record):
    """Every checkpoint of a run as judge of one fixed pool of responses.

    Attributes:
        authors: who wrote the pool's answers, in the order of training; ``human`` for a human-ranked slice.
        pool_hash: of every response and what is right about it; matrices of unlike pools are not comparable.
        n_responses: distinct ones; equal answers to one prompt are judged once.
    """

    format: Literal[1] = 1
    judges: tuple[DriftJudge, ...]
    authors: tuple[str, ...]
    scores: tuple[AuthorScore, ...]
    agreement: tuple[JudgeAgreement, ...]
    pool_hash: str
    n_prompts: int
    n_responses: int


class Standings(Record):
    """A run's checkpoints against each other.

    Attributes:
        fingerprints: checkpoint -> benchmark -> fingerprint of the weights the result was made with; a report knows
            from it whether a comparison is older than the results beside it.
        notes: what was not compared, and why.
    """

    format: Literal[1] = 1
    fingerprints: dict[str, dict[str, str]]
    differences: tuple[MetricDifference, ...] = ()
    head_to_head: tuple[HeadToHead, ...] = ()
    notes: tuple[str, ...] = ()

    def difference(self, benchmark: str, metric: str, a: str, b: str) -> MetricDifference | None:
        """The stored comparison of ``a`` with ``b``."""
        key = (benchmark, metric, a, b)
        return next((d for d in self.differences if (d.benchmark, d.metric, d.a, d.b) == key), None)


def evaluated_models(run_path: Path) -> list[str]:
    """Names of the models that have results, in the order of training, or as the user gave them."""
    found = {path.parts[-4] for path in run_path.glob(f"*/eval/*/{RESULT}")}
    return chain.model_order(found, chain.given_order(run_path))


def short_names(key: str) -> tuple[str, str]:
    """What a benchmark can be called besides its key.

    >>> short_names("micro-nlp@1")
    ('micro-nlp', 'nlp')
    """
    name = key.partition("@")[0]
    return name, name.removeprefix("micro-")


def keys_of(names: Iterable[str], there: Collection[str]) -> list[str]:
    """The benchmarks' keys that names mean, each once; a name that fits one exactly is no short name of another.

    >>> keys_of(["nlp"], ["nlp@1", "micro-nlp@1"]), keys_of(["nlp"], ["micro-nlp@1"])
    (['nlp@1'], ['micro-nlp@1'])

    Raises:
        UnknownNameError: a name means none of them.
    """
    known = {short_names(key)[1]: key for key in there}
    known |= {short_names(key)[0]: key for key in there}
    known |= {key: key for key in there}
    wanted = list(names)
    for name in wanted:
        if name not in known:
            raise UnknownNameError("benchmark", name, known)
    return list(dict.fromkeys(known[name] for name in wanted))


def read_result(path: Path) -> EvalResult:
    """A ``result.json``; what it says of how its benchmark is shown is learnt (``leaderboards.descriptions``).

    Raises:
        DataError: it cannot be read, or is no such record.
    """
    found = read_record(path, EvalResult)
    if found.description is not None:
        descriptions.learn(found.benchmark, found.description)
    return found


def read_failure(path: Path) -> Failure:
    """A ``failure.json``; raises DataError as ``read_result`` does."""
    return read_record(path, Failure)


def read_standings(run_path: Path) -> Standings:
    """A run's ``standings.json``; raises DataError as ``read_result`` does."""
    return read_record(run_path / STANDINGS, Standings)


def read_tournament(directory: Path) -> Tournament:
    """A ``head_to_head.json``; raises DataError as ``read_result`` does."""
    return read_record(directory / TOURNAMENT, Tournament)


def read_drift(path: Path) -> DriftMatrix:
    """A ``drift.json``; raises DataError as ``read_result`` does."""
    return read_record(path, DriftMatrix)


def write_record(path: Path, record: Record) -> None:
    """Writes one record as indented JSON; the file is there as before, or whole.

    Raises:
        DataError: the record holds text UTF-8 cannot hold, or the operating system refuses.
    """
    try:
        content = json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise DataError(
            f"Cannot write {path}: {error}. A text in it is not valid Unicode, or a number is not finite."
        ) from error
    write_atomic(path, content + b"\n")


def read_record(path: Path, model: type[R]) -> R:
    """One record as ``write_record`` writes it; raises DataError as ``read_result`` does."""
    with os_errors(path, "read"), path.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise DataError(f"{path} is larger than {_MAX_BYTES:,} bytes; it is no file of srbench's. Remove it.")
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            f"{path} is damaged or from another version of srbench ({place}: {first['msg']}). "
            "Evaluate again to replace it."
        ) from error
