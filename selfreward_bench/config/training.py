"""How models are trained: SFT, DPO, adapters, and the processes that do it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from selfreward_bench.config.section import BelowOne, Names, NotNegative, Positive, PositiveInt, Section

SaveDtype = Literal["base", "float32", "bfloat16", "float16"]
Optim = Literal[
    "adamw_torch_fused", "adamw_torch", "adafactor", "sgd", "adagrad", "rmsprop",
    "adamw_8bit", "adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit",
    "lion_32bit", "lion_8bit", "paged_lion_32bit", "paged_lion_8bit",
    "ademamix", "ademamix_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit",
    "rmsprop_bnb", "rmsprop_bnb_32bit", "rmsprop_bnb_8bit",
]  # fmt: skip
_NO_LOSS = {
    "aot": "sorts the pairs of a forward pass, so it would change with micro_batch_size and the processes",
    "aot_unpaired": "sorts the answers of a forward pass, so it would change with micro_batch_size and the processes",
    "sft": "has no preference in it; nll_weight adds it to a preference loss",
}


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


def _targets(given: object) -> object:
    """A list of names, at least one; a word that is no name of all is refused before it is taken for letters."""
    if given == "all-linear":
        return given
    if not isinstance(given, list | tuple) or not given or not all(isinstance(name, str) and name for name in given):
        raise ValueError("must be all-linear, or names of layers in a list, such as [q_proj, v_proj]")
    return tuple(given)


class LoraConfig(Section):
    """Low-rank adapters (arXiv 2106.09685) in place of full fine-tuning, for SFT and DPO alike."""

    r: PositiveInt = Field(16, description="Rank of the adapters.")
    alpha: PositiveInt = Field(32, description="What an adapter adds is scaled by alpha / r.")
    dropout: BelowOne = Field(0.0, description="Dropout before the adapters, in SFT; off in DPO.")
    targets: Annotated[Literal["all-linear"] | Names, BeforeValidator(_targets)] = Field(
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
