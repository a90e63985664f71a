"""What generates and judges: the engine, and its replicas over machines."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selfreward_bench.config.section import Day, Names, PositiveInt, Section


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
    sharding: Literal["none", "tensor", "fsdp"] = Field(
        "none",
        description="Shares a model out over processes of this machine: tensor: each multiplies a part; fsdp: in turn.",
    )
    processes: PositiveInt | None = Field(None, description="With sharding: how many; null: one for each GPU.")
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
    start_timeout: PositiveInt = Field(
        1800, description="Seconds that a vLLM server, or the processes of engine.sharding, may take to start."
    )

    @property
    def numerics(self) -> dict[str, str]:
        """Settings that change numbers as ``dtype`` does, for what depends on them; the usual ones are left out."""
        found = {"attn_implementation": self.attn_implementation, "quantize": self.quantize, "args": self.args or None}
        found["sharding"] = self.sharding if self.sharding != "none" else None
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
