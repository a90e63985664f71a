"""Every setting of a run, with its default and, where it has one, its source in the paper (arXiv 2401.10020).

This module only describes; ``selfreward_bench.recipes`` reads recipes and reports problems.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Names = Annotated[tuple[str, ...], BeforeValidator(lambda given: tuple(given) if isinstance(given, list) else given)]
JudgeMode = Literal["sampled", "expected", "reasoned"]


class Section(BaseModel):
    """Base of all sections: unknown keys refused, values immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sampling(Section):
    """How text is sampled."""

    temperature: Annotated[float, Field(ge=0)] = 0.7  # paper: 0.7 for candidates
    top_p: Fraction = 0.9  # paper: 0.9
    max_new_tokens: PositiveInt = 512


class EngineConfig(Section):
    """Which engine generates and judges."""

    kind: str = "transformers"
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    tokens_per_batch: PositiveInt = 16384  # rows x (prompt + new tokens) of a batch; a GPU takes 262,144 and more
    trust_remote_code: bool = False


class SeedConfig(Section):
    """The human seed data: IFT (instruction, answer) and EFT (ranked responses).

    ``ift``, ``eft``, ``exclude`` are ``micro`` (embedded) or a path to JSONL (docs/formats.md); ``ift`` and
    ``eft`` also ``oasst:PATH``, a file of Open Assistant trees.
    """

    ift: str = "micro"
    eft: str = "micro"
    ift_size: PositiveInt | None = None  # paper: 3,200; None takes all
    eft_size: PositiveInt | None = None  # paper: 1,630 (v2); prompts' responses, counted in judged responses
    exclude: str | None = "micro"  # held-out prompts that must never be trained on
    # a score is thinned to at most this multiple of the median count of the other scores (paper: "part of" score 4)
    eft_flatten: Annotated[float, Field(ge=1)] | None = 2.0
    eft_samples: PositiveInt = 3  # judgments the SFT baseline writes per response that has no review


class JudgeConfig(Section):
    """The LLM-as-a-Judge that rewards (and, in judge accuracy, is measured)."""

    prompt: str = "additive-5pt"
    mode: JudgeMode = "sampled"  # paper: sampled
    samples: PositiveInt = 3  # paper: 3 judgments, averaged
    sampling: Sampling = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=256)


class SftConfig(Section):
    """Supervised fine-tuning of M0 (M1 and the SFT baseline)."""

    learning_rate: Annotated[float, Field(gt=0)] = 5.5e-6  # paper
    final_learning_rate: Annotated[float, Field(ge=0)] = 1.1e-6  # paper, cosine
    epochs: Annotated[float, Field(gt=0)] = 1.0
    batch_size: PositiveInt = 16  # paper
    micro_batch_size: PositiveInt | None = None  # None: batch_size
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1  # paper; where the architecture has dropout
    max_length: PositiveInt = 2048
    eft_repeat: PositiveInt = 1  # EFT examples are seen this many times per epoch
    save_every: PositiveInt = 200  # steps; paper
    gradient_checkpointing: bool = False
    bf16: bool = False


class DpoConfig(Section):
    """Direct preference optimisation from M_t with M_t as reference."""

    beta: Annotated[float, Field(gt=0)] = 0.1  # paper
    nll_weight: Annotated[float, Field(ge=0)] = 0.0  # weight of an added NLL term on the chosen answer; paper: none
    learning_rate: Annotated[float, Field(gt=0)] = 1e-6  # paper
    final_learning_rate: Annotated[float, Field(ge=0)] = 1e-7  # paper
    epochs: Annotated[float, Field(gt=0)] = 1.0
    batch_size: PositiveInt = 16  # paper
    micro_batch_size: PositiveInt | None = None
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1  # paper; where the architecture has dropout
    max_length: PositiveInt = 2048
    save_every: PositiveInt = 200
    gradient_checkpointing: bool = False
    bf16: bool = False


class PromptsConfig(Section):
    """New prompts by self-instruct."""

    count: PositiveInt = 5000
    writer: Literal["base", "current"] = "current"  # paper: a fixed chat model; it also tried the trained models
    format: Literal["document", "chat"] = "chat"  # document: a list of tasks continued by a base model
    seed_shots: PositiveInt = 6  # paper: 6 from IFT
    generated_shots: Annotated[int, Field(ge=0)] = 2  # paper: 2 model-generated
    samples_per_context: PositiveInt = 1  # continuations drawn from one few-shot context
    sampling: Sampling = Sampling(temperature=0.6, top_p=0.9, max_new_tokens=256)  # paper: T 0.6, top-p 0.9
    min_words: PositiveInt = 4  # Self-Instruct: more than 3 words
    max_words: PositiveInt = 150  # Self-Instruct
    max_rouge_l: Annotated[float, Field(gt=0, le=1)] | None = 0.7  # Self-Instruct; None: exact duplicates only
    max_attempts_factor: PositiveInt = 6  # gives up after count * this many continuations


class CandidatesConfig(Section):
    """Answers of M_t to the new prompts."""

    count: Annotated[int, Field(ge=2)] = 4  # paper: N = 4
    sampling: Sampling = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=512)  # paper


class PairsConfig(Section):
    """Which candidates become preferences."""

    strategy: str = "best-worst"  # paper: highest against lowest mean score
    min_gap: Annotated[float, Field(ge=0)] = 0.0  # paper: only exact ties are dropped
    max_pairs: PositiveInt | None = None


class EvalConfig(Section):
    """How checkpoints are evaluated. Lengths are for real models; the micro recipes set shorter ones."""

    split: Literal["test", "validation"] = "test"  # micro-world: choices are made on validation, numbers are of test
    samples: PositiveInt = 2
    sampling: Sampling = Sampling(temperature=0.7, top_p=1.0, max_new_tokens=64)
    limit: PositiveInt | None = None  # the first so many items of each benchmark
    answering: Sampling = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=2048)  # AlpacaEval, head-to-head
    annotator: str = "weighted_alpaca_eval_gpt4_turbo"  # an evaluator config of the installed alpaca_eval
    order: Literal["seeded", "both"] = "seeded"  # AlpacaEval: one order per instruction as it does, or both
    mt_bench_mode: Literal["single", "pairwise"] = "single"
    mt_bench_max_new_tokens: PositiveInt = 1024  # FastChat's
    nlp_tasks: Names | None = None  # None: the profile's; else names of lm-eval tasks
    nlp_limit: PositiveInt | None = None  # documents per task; None: eval.limit


class RunConfig(Section):
    """One whole run."""

    name: str = "run"
    base: str = "micro"  # the embedded base model, a directory in Hugging Face layout, or OWNER/NAME[@REVISION]
    seed: int = 0
    iterations: PositiveInt = 2  # DPO rounds after M1: M2 .. M(1+iterations)
    rewards: Literal["self", "random", "length", "oracle"] = "self"  # all but self are controls
    with_baseline: bool = False
    threads: PositiveInt | None = 1
    engine: EngineConfig = EngineConfig()
    seeds: SeedConfig = SeedConfig()
    judge: JudgeConfig = JudgeConfig()
    sft: SftConfig = SftConfig()
    dpo: DpoConfig = DpoConfig()
    prompts: PromptsConfig = PromptsConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    pairs: PairsConfig = PairsConfig()
    eval: EvalConfig = EvalConfig()
