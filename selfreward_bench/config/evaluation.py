"""How checkpoints are evaluated."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selfreward_bench.config.section import Names, PositiveInt, Sampling, Section


class EvalConfig(Section):
    """How checkpoints are evaluated. Lengths are for real models; the micro recipes set shorter ones."""

    split: Literal["test", "validation"] = Field(
        "test", description="Prompts of the micro-world: choices are made on validation, numbers are of test."
    )
    samples: PositiveInt = Field(2, description="Sampled answers per prompt of the micro-world.")
    sampling: Sampling = Field(
        Sampling(temperature=0.7, top_p=1.0, max_new_tokens=64),
        description="How answers to prompts of the micro-world are sampled.",
    )
    limit: PositiveInt | None = Field(None, description="The first so many items of each benchmark; null takes all.")
    answering: Sampling = Field(
        Sampling(temperature=0.7, top_p=0.9, max_new_tokens=2048),
        description="How answers for AlpacaEval and head-to-head are sampled.",
    )
    annotator: str = Field(
        "weighted_alpaca_eval_gpt4_turbo", description="AlpacaEval: an evaluator config of the installed alpaca_eval."
    )
    order: Literal["seeded", "both"] = Field(
        "seeded", description="AlpacaEval: one order of the two answers per instruction, as it does, or both."
    )
    lc_strength: Literal["cv", "published"] = Field(
        "cv",
        description="AlpacaEval: the length control's penalty: cross-validated, or that of published weights.",
    )
    mt_bench_mode: Literal["single", "expected", "pairwise"] = Field(
        "single",
        description="MT-Bench: grades of single answers, written or expected (by a judge that is no server), or pairs.",
    )
    mt_bench_max_new_tokens: PositiveInt = Field(1024, description="MT-Bench: most tokens of an answer (FastChat's).")
    ifeval_max_new_tokens: PositiveInt = Field(1280, description="IFEval: most tokens of an answer (lm-eval's).")
    nlp_tasks: Names | None = Field(
        None, description="NLP benchmarks: names of lm-eval tasks; null takes those of the profile."
    )
    nlp_limit: PositiveInt | None = Field(None, description="NLP benchmarks: documents per task; null: eval.limit.")
    after_iteration: Names | None = Field(
        None,
        description="Benchmarks scored after each iteration: null is a small suite of the data there are, [] none.",
    )
    after_limit: PositiveInt = Field(
        32, description="The same on real data: items of each benchmark, unless eval.limit is less."
    )
    served_timeout: Annotated[float, Field(gt=0, le=86_400)] = Field(
        300.0, description="Seconds that a served model may be silent before it is asked again."
    )
