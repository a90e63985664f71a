"""Optimizers by transformers' names: what each keeps of a parameter, and which library it is from.

Named are those whose saved state is numbers alone, so that transformers reads it without running code (torch's
``weights_only``) and a resumed training goes on to the byte. Others are left out: torchao's keep tensors of classes of
their own, GaLore, APOLLO and LOMO change the training around them, and schedule-free ones have no schedule to follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from selfreward_bench.bases.findings import Finding, note, refusal
from selfreward_bench.config import DpoConfig, RunConfig, SftConfig
from selfreward_bench.engines.quantised import require_bitsandbytes
from selfreward_bench.errors import MissingDependencyError

__all__ = [
    "OPTIMIZERS",
    "Optimizer",
    "largest_optimizer",
    "needs_bitsandbytes",
    "optimizer_findings",
    "require_optimizer",
]

_SCALE: Final = 4 / 256  # bytes of a scale that 256 numbers of 8 bits share


@dataclass(frozen=True, slots=True)
class Optimizer:
    """What is known of an optimizer.

    Attributes:
        count: numbers that it keeps of a parameter between steps; adafactor's row and column of a matrix count as none.
        bits: of such a number. Those of embeddings have 32, as have those of tensors with less than 4,096 numbers.
        bitsandbytes: whether it is bitsandbytes'.
        paged: whether they move to the host's memory where a GPU's is full; on a CPU that is nothing.
    """

    count: int
    bits: int = 32
    bitsandbytes: bool = False
    paged: bool = False

    @property
    def moments(self) -> float:
        """Bytes that it keeps of a parameter."""
        return self.count * (1 + _SCALE if self.bits == 8 else 4.0)

    def held(self, parameters: int, embeddings: int = 0) -> int:
        """Bytes that it keeps of so many parameters, of which some are in embeddings."""
        return round(self.moments * (parameters - embeddings)) + 4 * self.count * embeddings


#: numbers kept of a parameter -> names
_OF_TORCH: Final = {2: ("adamw_torch_fused", "adamw_torch"), 1: ("adagrad", "rmsprop"), 0: ("adafactor", "sgd")}
_OF_BITSANDBYTES: Final = {
    3: ("ademamix", "ademamix_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit"),
    2: ("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit"),
    1: (
        *("lion_32bit", "lion_8bit", "paged_lion_32bit", "paged_lion_8bit"),
        *("rmsprop_bnb", "rmsprop_bnb_32bit", "rmsprop_bnb_8bit"),
    ),
}

#: name (``transformers.training_args.OptimizerNames``) -> what it keeps
OPTIMIZERS: Final[Mapping[str, Optimizer]] = {
    **{name: Optimizer(count) for count, names in _OF_TORCH.items() for name in names},
    **{
        name: Optimizer(count, 8 if name.endswith("8bit") else 32, True, name.startswith("paged"))
        for count, names in _OF_BITSANDBYTES.items()
        for name in names
    },
}


def largest_optimizer(config: RunConfig) -> Optimizer:
    """That of a run's optimizers which keeps most."""
    return max((OPTIMIZERS[section.optim] for section in (config.sft, config.dpo)), key=lambda o: o.moments)


def needs_bitsandbytes(config: RunConfig) -> bool:
    """Whether anything of a run is that library's: an optimizer, or quantised weights."""
    quantised = config.engine.quantize or (config.lora and config.lora.quantize)
    return bool(quantised) or any(OPTIMIZERS[section.optim].bitsandbytes for section in (config.sft, config.dpo))


def require_optimizer(section: SftConfig | DpoConfig) -> None:
    """Raises MissingDependencyError where the section's optimizer is of a library that is not installed."""
    if OPTIMIZERS[section.optim].bitsandbytes:
        require_bitsandbytes(f"The optimizer {section.optim} (optim) is bitsandbytes'")


def optimizer_findings(config: RunConfig, device: str) -> Iterator[Finding]:
    """Whether a run's optimizers are there, and what does not hold on this device."""
    sections: dict[str, SftConfig | DpoConfig] = {config.sft.optim: config.sft, config.dpo.optim: config.dpo}
    for section in sections.values():
        try:
            require_optimizer(section)
        except MissingDependencyError as error:
            yield refusal("optimizer", str(error))
            continue
        if OPTIMIZERS[section.optim].paged and device == "cpu":
            yield note("optimizer", f"On a CPU {section.optim} has nowhere to move its moments: they stay.")
