"""What is trained on: human seed data, new prompts, their candidates, and the pairs made of them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selfreward_bench.config.section import Fraction, NotNegative, PositiveInt, Sampling, Section, Spec

RANKS = "ranks"  # as a reviewer: nobody, and grades are made of human ranks
SEEDS = "seeds"  # as a writer of prompts: nobody, and the prompts are those of seeds.ift, with their answers
WORDS = frozenset({"current", "self", "base", RANKS, SEEDS})  # no other model, where a setting names who does something


class SeedConfig(Section):
    """The human seed data: IFT (instruction, answer) and EFT (ranked responses).

    ``ift``, ``eft``, ``exclude`` are ``micro`` (embedded), a path to JSONL, a JSON array, Parquet, CSV or a directory
    of ``datasets`` in one of the shapes of docs/formats.md, or ``hf:OWNER/NAME``; ``ift`` and ``eft`` also
    ``oasst:PATH``, a file of Open Assistant trees.
    """

    ift: str = Field(
        "micro", description="Instructions with answers: micro (embedded), a file, hf:OWNER/NAME or oasst:PATH."
    )
    eft: str = Field("micro", description="Ranked responses: micro (embedded), a file, hf:OWNER/NAME or oasst:PATH.")
    ift_size: PositiveInt | None = Field(None, description="Examples drawn from ift; null takes all (paper: 3,200).")
    eft_size: PositiveInt | None = Field(
        None, description="Responses drawn from eft, as whole prompts; null takes all (paper: 1,630 in v2)."
    )
    exclude: str | None = Field(
        "micro", description="Held-out prompts, never trained on: micro (embedded), a file; null: none."
    )
    eft_flatten: Annotated[float, Field(ge=1)] | None = Field(
        2.0,
        description="A score is thinned to this multiple of the other scores' median count (paper: part of score 4).",
    )
    eft_samples: PositiveInt = Field(
        3, description="Judgments that the reviewer writes per response that has no review."
    )
    reviewer: Spec = Field(
        "current",
        description="Who reviews bare responses: current (the SFT baseline: paper), base, a model, or ranks (nobody).",
    )


class PromptsConfig(Section):
    """New prompts by self-instruct."""

    count: PositiveInt = Field(5000, description="New prompts per round.")
    writer: Spec = Field(
        "current",
        description="Who writes: current, base (M0), a model (paper: a chat one); or a file, or seeds (those of ift).",
    )
    format: Literal["document", "chat"] = Field(
        "chat", description="chat, or document: a list of tasks that a base model continues."
    )
    seed_shots: PositiveInt = Field(6, description="Examples from IFT in a few-shot context (paper: 6).")
    generated_shots: Annotated[int, Field(ge=0)] = Field(
        2, description="Model-written examples in a few-shot context (paper: 2)."
    )
    samples_per_context: PositiveInt = Field(1, description="Continuations drawn from one few-shot context.")
    sampling: Sampling = Field(
        Sampling(temperature=0.6, top_p=0.9, max_new_tokens=256),
        description="How new prompts are sampled (paper: temperature 0.6, top-p 0.9).",
    )
    min_words: PositiveInt = Field(4, description="Fewest words of a prompt (Self-Instruct: more than 3).")
    max_words: PositiveInt = Field(150, description="Most words of a prompt (Self-Instruct: 150).")
    max_rouge_l: Fraction | None = Field(
        0.7, description="Highest ROUGE-L with an earlier prompt (Self-Instruct: 0.7); null: exact duplicates only."
    )
    max_attempts_factor: PositiveInt = Field(6, description="Gives up after count x this many continuations.")


class CandidatesConfig(Section):
    """Answers of M_t to the new prompts."""

    count: Annotated[int, Field(ge=2)] = Field(4, description="Answers per prompt (paper: N = 4).")
    sampling: Sampling = Field(
        Sampling(temperature=0.7, top_p=0.9, max_new_tokens=512),
        description="How answers are sampled (paper: temperature 0.7, top-p 0.9).",
    )


class PairsConfig(Section):
    """Which candidates become preferences."""

    later: ClassVar[frozenset[str]] = frozenset({"rho", "chosen_from", "rejected_from"})

    strategy: str = Field(
        "best-worst",
        description="best-worst (paper), best-random, all-above-gap or length-aware (docs/training.md).",
    )
    rho: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0,
        description="length-aware: scores this close, as a part of their range, are alike and length decides.",
    )
    min_gap: NotNegative = Field(
        0.0, description="Least gap between the two scores; 0 drops exact ties only, as the paper does."
    )
    chosen_from: Literal["own", "human", "next", "own-or-next"] = Field(
        "own",
        description="Whose answers are chosen: own, people's (human), a next model's, or the better of own and its.",
    )
    rejected_from: Literal["own", "first", "own-or-first"] = Field(
        "own",
        description="Whose are rejected: own, those of the first model (M1), or the worse of own and its.",
    )
    max_pairs: PositiveInt | None = Field(None, description="Most pairs of a round, by a seeded draw; null keeps all.")
