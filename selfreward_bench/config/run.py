"""Every setting of a run: its default, what it means and, where it has one, its source in the paper (arXiv 2401.10020).

This module only describes; ``selfreward_bench.recipes`` reads recipes and reports problems. A description is one line
and serves the schema, ``srbench recipes NAME --explain`` and docs/settings.md alike.
"""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

PositiveInt = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
_LIST = BeforeValidator(lambda given: tuple(given) if isinstance(given, list) else given)
Names = Annotated[tuple[str, ...], _LIST]
Day = Annotated[
    str,
    BeforeValidator(lambda given: given.isoformat() if type(given) is datetime.date else given),  # as YAML reads it
    AfterValidator(lambda given: datetime.date.fromisoformat(given).isoformat()),
]
Tracker = Literal["tensorboard", "wandb", "trackio", "mlflow"]
SaveDtype = Literal["base", "float32", "bfloat16", "float16"]
Optim = Literal[
    "adamw_torch_fused", "adamw_torch", "adafactor", "sgd", "adagrad", "rmsprop",
    "adamw_8bit", "adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit",
    "lion_32bit", "lion_8bit", "paged_lion_32bit", "paged_lion_8bit",
    "ademamix", "ademamix_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit",
    "rmsprop_bnb", "rmsprop_bnb_32bit", "rmsprop_bnb_8bit",
]  # fmt: skip
Spec = Annotated[str, Field(min_length=1, max_length=1000)]
Judge = Annotated[Spec, BeforeValidator(lambda given: "self" if given == "current" else given)]
_SECRET_HEADER = re.compile(r"auth|key|token|cookie|secret", re.IGNORECASE)
_NO_LOSS = {
    "aot": "sorts the pairs of a forward pass, so it would change with micro_batch_size and the processes",
    "aot_unpaired": "sorts the answers of a forward pass, so it would change with micro_batch_size and the processes",
    "sft": "has no preference in it; nll_weight adds it to a preference loss",
}
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
Rewards = Literal["self", "random", "length", "oracle", "reward-model", "implicit", "human", "verifiable"]
JudgeMode = Literal["sampled", "expected", "reasoned"]


def _refuse_loss(name: object) -> object:
    if isinstance(name, str) and name in _NO_LOSS:
        raise ValueError(f"TRL's loss {name} {_NO_LOSS[name]}. Choose another one")
    return name


Loss = Annotated[
    Literal[
        "sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down",
        "discopop", "sigmoid_norm",
    ],
    BeforeValidator(_refuse_loss),
]  # fmt: skip
Rehearsed = Literal["own", "contrast", "soft", "eft", "renewed"]
OF_PEOPLE = frozenset({"eft", "renewed"})  # what is rehearsed is made of human seed data, used again
RANKS = "ranks"  # as a reviewer: nobody, and grades are made of human ranks
SEEDS = "seeds"  # as a writer of prompts: nobody, and the prompts are those of seeds.ift, with their answers
WORDS = frozenset({"current", "self", "base", RANKS, SEEDS})  # no other model, where a setting names who does something


def is_template_file(chat_template: str) -> bool:
    """Whether what ``RunConfig.chat_template`` says is a file's path, and no name."""
    return chat_template != "plain" and not chat_template.startswith("fastchat:")


class Section(BaseModel):
    """Base of all sections: unknown keys refused, values immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    later: ClassVar[frozenset[str]] = frozenset()  # settings that were added when runs were there already

    def recorded(self) -> dict[str, Any]:
        """What stages and trainings keep of these settings: without later ones at their defaults, so that what was
        made before these were there is still what it was."""
        values = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in self.later and value == field.default:
                del values[name]
            elif isinstance(value, Section):
                values[name] = value.recorded()
        return values


class Sampling(Section):
    """How text is sampled."""

    temperature: NotNegative = Field(0.7, description="Sampling temperature; 0 is greedy.")
    top_p: Fraction = Field(0.9, description="Nucleus sampling: the likeliest tokens of this total probability.")
    max_new_tokens: PositiveInt = Field(512, description="Most tokens of one text; a longer one is truncated.")


class EngineConfig(Section):
    """Which engine generates and judges."""

    kind: str = Field(
        "transformers",
        description="transformers, vllm (docs/vllm.md), openai (served models) or scripted (for tests).",
    )
    device: str = Field(
        "auto", description="auto (CUDA, then MPS, then the CPU), cpu, cuda, cuda:1, mps, or all: layers over all GPUs."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Precision of generating; auto: float32 on a CPU, elsewhere as the checkpoint was saved."
    )
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] | None = (
        Field(None, description="Kernel of attention, in training too; null: transformers' choice for the model.")
    )
    tokens_per_batch: PositiveInt = Field(
        16384, description="Most rows x (prompt + new tokens) of a batch; a GPU takes 262,144 and more."
    )
    quantize: Literal["nf4", "int8"] | None = Field(
        None, description="Answers with weights of 4 or 8 bits (bitsandbytes); null: as they are."
    )
    trust_remote_code: bool = Field(False, description="Whether a model may run Python code that it brings along.")
    date: Day | None = Field(
        None,
        description="The day that chat templates show (YYYY-MM-DD); a run keeps that of its making; else 2024-07-26.",
    )
    command: str = Field(
        "vllm serve",
        description="Kind vllm: the command that starts a server; another than vllm serve must equal $SRBENCH_VLLM.",
    )
    args: str = Field("", description="Kind vllm: more arguments of the server, such as --tensor-parallel-size 8.")
    urls: Names = Field((), description="Kind vllm: servers that are there, such as http://10.0.0.5:8000.")
    start_timeout: PositiveInt = Field(1800, description="Kind vllm: seconds that a server may take to start.")

    @property
    def numerics(self) -> dict[str, str]:
        """Settings that change numbers as ``dtype`` does, for what depends on them; the usual ones are left out."""
        found = {"attn_implementation": self.attn_implementation, "quantize": self.quantize, "args": self.args or None}
        return {key: value for key, value in found.items() if value is not None}


class ClusterConfig(Section):
    """Replicas of the engine over the machines of a Ray cluster (docs/cluster.md)."""

    address: Annotated[str, Field(min_length=1, max_length=300)] | None = Field(
        None,
        description="null: this machine alone; auto: the cluster it is in; another must equal $RAY_ADDRESS.",
    )
    replicas: PositiveInt = Field(1, description="How many engines generate and judge at once.")
    gpus_per_replica: Annotated[int, Field(ge=0)] = Field(
        1, description="GPUs of one replica, all of one machine; 0: it computes on CPUs."
    )


class SeedConfig(Section):
    """The human seed data: IFT (instruction, answer) and EFT (ranked responses).

    ``ift``, ``eft``, ``exclude`` are ``micro`` (embedded), a path to JSONL, a JSON array, Parquet or a directory of
    ``datasets`` in one of the shapes of docs/formats.md, or ``hf:OWNER/NAME``; ``ift`` and ``eft`` also
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


class JudgeRequest(Section):
    """How a served judge (``openai:NAME@URL``) is asked, where that is not as the benchmark or ``judge`` says."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$")] | None = Field(
        None, description="What results call the judge instead of openai:NAME@URL; an address may then change."
    )
    temperature: NotNegative | None = Field(None, description="Temperature of verdicts in words.")
    max_tokens: PositiveInt | None = Field(
        None, description="Most tokens of a verdict in words; a judge that thinks first needs thousands."
    )
    seed: int | None = Field(None, description="Seed that is sent with each question.")
    extra_body: dict[str, Any] = Field({}, description="More fields of the request, such as {reasoning_effort: low}.")
    extra_headers: dict[str, str] = Field(
        {}, description="More headers; ${VARIABLE} stands for an environment variable, and is stored as such."
    )

    @field_validator("extra_body")
    @classmethod
    def _free_fields(cls, given: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted({"model", "messages", "prompt", "stream", "n", "logprobs", "top_logprobs"} & given.keys()):
            raise ValueError(f"cannot set {', '.join(taken)}, which srbench sets itself")
        return given

    @field_validator("extra_headers")
    @classmethod
    def _no_secrets(cls, given: dict[str, str]) -> dict[str, str]:
        for name, value in given.items():
            if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", name) or not re.fullmatch(r"[ -~]*", value):
                raise ValueError(f"{name[:100]!r} is no header of plain ASCII")
            if _SECRET_HEADER.search(name) and not _VARIABLE.search(value):
                raise ValueError(
                    f"the value of {name!r} would be stored; name an environment variable instead: ${{MY_KEY}}"
                )
        return given

    def __bool__(self) -> bool:
        """Whether anything is set."""
        return self != JudgeRequest()


class JudgeConfig(Section):
    """The LLM-as-a-Judge that rewards (and, in judge accuracy, is measured)."""

    model: Judge = Field(
        "self",
        description="Who rewards: self (the model that answers), base, or another model: RLAIF, and no self-reward.",
    )
    prompt: str = Field("additive-5pt", description="A shipped judge prompt's name or a YAML file (docs/judges.md).")
    mode: JudgeMode = Field(
        "sampled",
        description="sampled (paper), expected grade, or reasoned: the expected grade after a written justification.",
    )
    samples: PositiveInt = Field(3, description="Judgments per response in mode sampled, averaged (paper: 3).")
    min_mass: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05,
        description="Modes expected and reasoned: with less probability on all grades together there is no grade.",
    )
    sampling: Sampling = Field(
        Sampling(temperature=0.7, top_p=0.9, max_new_tokens=256),
        description="How judgments are sampled; mode reasoned takes max_new_tokens alone, expected nothing.",
    )
    request: JudgeRequest = Field(JudgeRequest(), description="How a served judge is asked.")

    def without_request(self) -> dict[str, Any]:
        """What judgments depend on besides the model that judges and how a server is asked."""
        return self.model_dump(exclude={"model", "request"})


def _fits_together(section: Any) -> Any:
    """Refuses settings of a training that are right one by one and wrong together."""
    highest, final = section.learning_rate, section.final_learning_rate
    if final > highest:
        raise ValueError(
            f"final_learning_rate {final:g} is above learning_rate {highest:g}, so the rate would rise; set both"
        )
    batch, micro = section.batch_size, section.micro_batch_size
    if micro and batch % micro:
        raise ValueError(f"batch_size {batch} is no multiple of micro_batch_size {micro}")
    return section


class SftConfig(Section):
    """Supervised fine-tuning of M0 (M1 and the SFT baseline)."""

    learning_rate: Positive = Field(5.5e-6, description="Highest learning rate (paper: 5.5e-6).")
    final_learning_rate: NotNegative = Field(
        1.1e-6, description="Where the cosine schedule ends (paper: 1.1e-6, cosine)."
    )
    epochs: Positive = Field(1.0, description="Passes over the examples; a fraction ends within one.")
    batch_size: PositiveInt = Field(16, description="Examples per optimizer step, over all processes (paper: 16).")
    micro_batch_size: PositiveInt | None = Field(
        None, description="Most examples per forward pass of a process; null: all of its share of the batch."
    )
    micro_tokens: PositiveInt | None = Field(
        None, description="Most tokens of a forward pass, padding included; null: any number."
    )
    warmup_fraction: BelowOne = Field(
        0.0, description="Share of the steps in which the learning rate rises: of n, the first takes 1/(n+1)."
    )
    weight_decay: NotNegative = Field(0.0, description="The optimizer's weight decay.")
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] = Field(0.999, description="AdamW's beta2; beta1 is 0.9.")
    optim: Optim = Field(
        "adamw_torch_fused", description="Optimizer by transformers' name; 8-bit and paged ones are bitsandbytes'."
    )
    dropout: BelowOne = Field(0.1, description="Dropout, where the architecture has it (paper: 0.1).")
    max_length: PositiveInt = Field(2048, description="Most tokens of an example; longer ones are left out, not cut.")
    eft_repeat: Annotated[int, Field(ge=0)] = Field(
        1, description="Times that each EFT example is seen per epoch; 0: M1 is trained on IFT alone (an ablation)."
    )
    save_every: PositiveInt = Field(200, description="Steps between saved states, to resume from (paper: 200).")
    gradient_checkpointing: bool = Field(False, description="Computes activations twice to save memory.")
    bf16: bool = Field(False, description="Computes in bfloat16 autocast; weights and optimizer stay float32.")
    save_dtype: SaveDtype = Field("base", description="Type of the saved weights; base: that of the base, by tensor.")

    _fits = model_validator(mode="after")(_fits_together)


class DpoConfig(Section):
    """Direct preference optimisation from M_t with M_t as reference."""

    later: ClassVar[frozenset[str]] = frozenset({"loss", "label_smoothing"})

    beta: Positive = Field(
        0.1, description="DPO's beta: how strongly the policy is held to the reference (paper: 0.1)."
    )
    loss: Loss = Field(
        "sigmoid", description="TRL's preference loss (docs/training.md); ipo and sigmoid_norm are means per token."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="Share of pairs taken to be the wrong way round; of sigmoid (cDPO), robust and exo_pair."
    )
    nll_weight: NotNegative = Field(
        0.0, description="Weight of an added negative log-likelihood of the chosen answers (paper: none)."
    )
    learning_rate: Positive = Field(1e-6, description="Highest learning rate (paper: 1e-6).")
    final_learning_rate: NotNegative = Field(1e-7, description="Where the cosine schedule ends (paper: 1e-7).")
    epochs: Positive = Field(1.0, description="Passes over the pairs; a fraction ends within one.")
    batch_size: PositiveInt = Field(16, description="Pairs per optimizer step, over all processes (paper: 16).")
    micro_batch_size: PositiveInt | None = Field(
        None, description="Most pairs per forward pass of a process; null: all of its share of the batch."
    )
    micro_tokens: PositiveInt | None = Field(
        None, description="Most tokens of a forward pass, of both answers, padding included; null: any number."
    )
    warmup_fraction: BelowOne = Field(
        0.0, description="Share of the steps in which the learning rate rises: of n, the first takes 1/(n+1)."
    )
    weight_decay: NotNegative = Field(0.0, description="The optimizer's weight decay.")
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] = Field(0.999, description="AdamW's beta2; beta1 is 0.9.")
    optim: Optim = Field(
        "adamw_torch_fused", description="Optimizer by transformers' name; 8-bit and paged ones are bitsandbytes'."
    )
    max_length: PositiveInt = Field(2048, description="Most tokens of prompt with answer; longer pairs are left out.")
    save_every: PositiveInt = Field(200, description="Steps between saved states, to resume from (paper: 200).")
    gradient_checkpointing: bool = Field(False, description="Computes activations twice to save memory.")
    bf16: bool = Field(False, description="Computes in bfloat16 autocast; weights and optimizer stay float32.")
    save_dtype: SaveDtype = Field("base", description="Type of the saved weights; base: that of the base, by tensor.")

    _fits = model_validator(mode="after")(_fits_together)

    @model_validator(mode="after")
    def _smoothing_fits(self) -> DpoConfig:
        if self.label_smoothing and self.loss not in ("sigmoid", "robust", "exo_pair"):
            raise ValueError(f"label_smoothing does nothing in the loss {self.loss}; set it to 0")
        if self.loss == "exo_pair" and not self.label_smoothing:
            raise ValueError("the loss exo_pair needs a label_smoothing above 0 (its authors: 0.001)")
        return self


class LoraConfig(Section):
    """Low-rank adapters (arXiv 2106.09685) in place of full fine-tuning, for SFT and DPO alike."""

    r: PositiveInt = Field(16, description="Rank of the adapters.")
    alpha: PositiveInt = Field(32, description="What an adapter adds is scaled by alpha / r.")
    dropout: BelowOne = Field(0.0, description="Dropout before the adapters, in SFT; off in DPO.")
    targets: Literal["all-linear"] | Names = Field(
        "all-linear",
        description="Layers that get one: all-linear (all but the output layer), or names such as q_proj.",
    )
    merge: bool = Field(
        True,
        description="Merges each round into a whole checkpoint; false: rounds go on with one adapter over M0.",
    )
    quantize: Literal["nf4", "int8"] | None = Field(
        None, description="QLoRA: the frozen weights in 4 or 8 bits (bitsandbytes) in training; null: as they are."
    )


class TrainConfig(Section):
    """Which processes train; numbers depend on it by rounding alone."""

    launch: Annotated[str, Field(min_length=1, max_length=2000)] | None = Field(
        None, description="null: this process; auto: one for each device; or a launcher, such as torchrun ..."
    )
    processes: PositiveInt | None = Field(
        None, description="How many processes there must be; null: as many as the launcher starts."
    )

    sharding: Literal["none", "fsdp"] = Field(
        "none", description="none: each process holds the whole model; fsdp: a part of it (PyTorch's FSDP2)."
    )
    replicas: PositiveInt = Field(
        1, description="With fsdp: how often the whole is there, sharded over processes / replicas each."
    )

    @model_validator(mode="after")
    def _is_launched(self) -> TrainConfig:
        if self.launch is None and self.processes not in (None, 1):
            raise ValueError(f"processes {self.processes} need something that starts them: set launch, such as auto")
        if self.sharding != "none" and self.launch is None:
            raise ValueError("sharding needs several processes: set launch, such as auto")
        if self.replicas > 1 and (self.sharding == "none" or (self.processes or self.replicas) % self.replicas):
            raise ValueError(f"replicas {self.replicas} need sharding: fsdp, and processes that are a multiple of it")
        return self


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
    chosen_from: Literal["own", "human", "next"] = Field(
        "own",
        description="Whose answers are chosen: own; human: those that came with the prompts; next: a next model's.",
    )
    rejected_from: Literal["own", "first"] = Field(
        "own", description="Whose are rejected: own, or those of the first model that answers (M1)."
    )
    max_pairs: PositiveInt | None = Field(None, description="Most pairs of a round, by a seeded draw; null keeps all.")


def _kinds(given: object) -> object:
    """``none`` is no kind, and a word is the list of it alone; a kind that comes twice counts once."""
    if isinstance(given, str):
        return () if given == "none" else (given,)
    return tuple(dict.fromkeys(given)) if isinstance(given, list | tuple) else given


_KIND_SCHEMA = {"enum": list(get_args(Rehearsed))}


class RehearsalConfig(Section):
    """Judgments that are trained beside the preferences, so that the model does not unlearn to judge."""

    what: Annotated[
        tuple[Rehearsed, ...],
        BeforeValidator(_kinds),
        WithJsonSchema({"anyOf": [{"enum": ["none", *get_args(Rehearsed)]}, {"type": "array", "items": _KIND_SCHEMA}]}),
    ] = Field(
        (),
        description="none, or of own, contrast, soft (the model's own), eft, renewed (human seed data), one or a list.",
    )
    weight: Positive = Field(
        1.0, description="Weight of their mean negative log-likelihood per token, beside DPO's loss."
    )
    size: PositiveInt = Field(64, description="Judgments per optimizer step, over all processes.")
    alone: bool = Field(
        False, description="Control: the pairs carry no loss, and the judgments alone are trained in as many steps."
    )

    def made_of(self) -> dict[str, Any]:
        """What decides which judgments there are; the rest is how they are trained."""
        return self.model_dump(include={"what", "size"})


class SelectConfig(Section):
    """Which step of a preference training a round keeps: checkpoints are compared by a judge (docs/training.md)."""

    every: PositiveInt | None = Field(
        None, description="Steps between checkpoints that are compared (paper: 200); null: the last step is kept."
    )
    judge: Judge = Field(
        "self",
        description="Who compares: self (the parent), base, another model, or oracle (micro-world, validation split).",
    )
    prompt: str = Field("pairwise", description="The judge prompt that compares two answers, asked in both orders.")
    prompts: Spec = Field("micro", description="Validation prompts: micro (embedded) or a file (docs/formats.md).")
    limit: PositiveInt | None = Field(253, description="The first so many of them (paper: 253); null takes all.")


class RewardModelConfig(Section):
    """A trained reward model, for ``rewards: reward-model``."""

    name: Spec | None = Field(
        None, description="A sequence classifier with one output: a directory, or OWNER/NAME[@REVISION]; safetensors."
    )
    max_length: PositiveInt = Field(2048, description="Most tokens of a prompt with its answer; longer: no reward.")


class ImplicitConfig(Section):
    """DICE's reward (arXiv 2406.09760), for ``rewards: implicit``."""

    alpha: NotNegative | None = Field(
        None, description="Reward taken off per token; null: as makes chosen and rejected equally long in the mean."
    )


class MetaConfig(Section):
    """Meta-Rewarding (arXiv 2407.19594): preferences between judgments, trained beside those between answers."""

    by: Literal["none", "consensus", "elo"] = Field(
        "none",
        description="Who prefers: none, consensus (the judgment nearest to their mean), elo (the model as meta-judge).",
    )
    min_gap: NotNegative = Field(
        0.5, description="consensus: how much farther from the mean score the rejected judgment is, at least."
    )
    prompt: str = Field("meta-judge", description="elo: a shipped judge prompt of kind pairwise, or a YAML file.")
    max_new_tokens: PositiveInt = Field(256, description="elo: most tokens of the meta-judge's verdict.")


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
    mt_bench_mode: Literal["single", "pairwise"] = Field(
        "single", description="MT-Bench: grades of single answers, or pairwise against a baseline's answers."
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


class RunConfig(Section):
    """One whole run."""

    later: ClassVar[frozenset[str]] = frozenset(
        {"rehearsal", "learn", "select", "train", "reward_model", "implicit", "meta", "consistency"}
    )

    name: str = Field("run", description="The recipe's name, for status and reports.")
    base: str = Field(
        "micro", description="M0: micro (embedded), a directory in Hugging Face layout, or OWNER/NAME[@REVISION]."
    )
    seed: int = Field(0, description="What the seeds of all draws and samples derive from.")
    iterations: PositiveInt = Field(2, description="DPO rounds after M1: M2 .. M(1+iterations).")
    rewards: Rewards = Field(
        "self", description="What rewards: self is the judge (judge.model); random, length, oracle are controls."
    )
    consistency: bool = Field(
        False, description="CREAM: reversed pairs get the weight by which M_t and M_t-1 rank the candidates unlike."
    )
    learn: Literal["preferences", "positives"] = Field(
        "preferences",
        description="What a round trains: preferences by DPO, or positives: perfect answers by SFT (an ablation).",
    )
    with_baseline: bool = Field(False, description="Also trains the SFT baseline: IFT only.")
    chat_template: str | None = Field(
        None, description="null (the tokenizer's own, else the plain one), plain, fastchat:NAME or a Jinja file."
    )
    threads: PositiveInt | None = Field(1, description="CPU threads; null leaves the number to the libraries.")
    track: Annotated[tuple[Tracker, ...], _LIST] = Field(
        (), description="Experiment trackers that are told each training step: tensorboard, wandb, trackio, mlflow."
    )
    engine: EngineConfig = Field(EngineConfig(), description="Which engine generates and judges.")
    cluster: ClusterConfig | None = Field(
        None, description="Replicas of the engine over machines, by Ray; null: one engine, in this process."
    )
    seeds: SeedConfig = Field(SeedConfig(), description="The human seed data: IFT and EFT.")
    judge: JudgeConfig = Field(JudgeConfig(), description="The LLM-as-a-Judge that rewards and is measured.")
    sft: SftConfig = Field(SftConfig(), description="Supervised fine-tuning of M0: M1 and the SFT baseline.")
    dpo: DpoConfig = Field(DpoConfig(), description="Direct preference optimisation from M_t, its own reference.")
    lora: LoraConfig | None = Field(None, description="Low-rank adapters; null: all weights are trained.")
    train: TrainConfig = Field(TrainConfig(), description="The processes of SFT and DPO (docs/training.md).")
    prompts: PromptsConfig = Field(PromptsConfig(), description="New prompts by self-instruct.")
    candidates: CandidatesConfig = Field(CandidatesConfig(), description="Answers of M_t to the new prompts.")
    pairs: PairsConfig = Field(PairsConfig(), description="Which candidates become preferences.")
    rehearsal: RehearsalConfig = Field(
        RehearsalConfig(), description="Judgments that are trained beside the preferences."
    )
    select: SelectConfig = Field(SelectConfig(), description="Which step of a preference training a round keeps.")
    reward_model: RewardModelConfig = Field(RewardModelConfig(), description="The model of rewards: reward-model.")
    implicit: ImplicitConfig = Field(ImplicitConfig(), description="The reward of rewards: implicit (DICE).")
    meta: MetaConfig = Field(MetaConfig(), description="Preferences between judgments (Meta-Rewarding).")
    eval: EvalConfig = Field(EvalConfig(), description="How checkpoints are evaluated.")

    @model_validator(mode="after")
    def _selects_whole_checkpoints(self) -> RunConfig:
        if self.select.every and self.lora and not self.lora.merge:
            raise ValueError("select.every needs checkpoints that stand by themselves: set lora.merge to true")
        if self.select.every and self.select.judge == "oracle" and self.select.prompts != "micro":
            raise ValueError("select.judge: oracle knows the micro-world alone: set select.prompts to micro")
        return self

    @model_validator(mode="after")
    def _rehearses_beside_preferences(self) -> RunConfig:
        if self.rehearsal.what and self.learn == "positives":
            raise ValueError("learn: positives has no preferences, beside which rehearsal.what could be trained")
        return self

    @property
    def signal(self) -> str:
        """What trains the model: ``self``, ``rlaif`` where another model judges, another reward, or a control."""
        return self._named(self.rewards)

    def signal_of(self, model: str) -> str:
        """The same of one model: before a model was trained on preferences there is no implicit reward, and a judge's
        stands in its place."""
        return self._named("self" if self.rewards == "implicit" and model == "M2" else self.rewards)

    def _named(self, rewards: str) -> str:
        return "rlaif" if rewards == "self" and self.judge.model != "self" else rewards

    @property
    def judged(self) -> bool:
        """Whether a judge is asked in any round."""
        return self.rewards in ("self", "implicit")

    def with_changeable(self, other: RunConfig) -> RunConfig:
        """These settings, but for those on which no stage depends (the evaluation, trackers, replicas, the processes of
        trainings): they are the other's."""
        judge = self.judge.model_copy(update={"request": other.judge.request})
        free = {"eval": other.eval, "judge": judge, "track": other.track, "cluster": other.cluster}
        return self.model_copy(update=free | {"train": other.train})
