"""Every setting of a run: its default, what it means and, where it has one, its source in the paper (arXiv 2401.10020).

Only described here, a module per group of sections: ``selfreward_bench.recipes`` reads recipes and reports problems. A
description is one line and serves the schema, ``srbench recipes NAME --explain`` and docs/settings.md alike.
"""

from selfreward_bench.config.beside import OF_PEOPLE, RehearsalConfig, SelectConfig
from selfreward_bench.config.data import RANKS, SEEDS, WORDS, CandidatesConfig, PairsConfig, PromptsConfig, SeedConfig
from selfreward_bench.config.engine import ClusterConfig, EngineConfig
from selfreward_bench.config.evaluation import EvalConfig
from selfreward_bench.config.judging import (
    ImplicitConfig,
    JudgeConfig,
    JudgeMode,
    JudgeRequest,
    MetaConfig,
    RewardModelConfig,
    Rewards,
)
from selfreward_bench.config.run import RunConfig, is_template_file
from selfreward_bench.config.section import Sampling, Section
from selfreward_bench.config.training import DpoConfig, LoraConfig, Loss, Optim, SftConfig, TrainConfig

__all__ = [
    "OF_PEOPLE",
    "RANKS",
    "SEEDS",
    "WORDS",
    "CandidatesConfig",
    "ClusterConfig",
    "DpoConfig",
    "EngineConfig",
    "EvalConfig",
    "ImplicitConfig",
    "JudgeConfig",
    "JudgeMode",
    "JudgeRequest",
    "LoraConfig",
    "Loss",
    "MetaConfig",
    "Optim",
    "PairsConfig",
    "PromptsConfig",
    "RehearsalConfig",
    "RewardModelConfig",
    "Rewards",
    "RunConfig",
    "Sampling",
    "Section",
    "SeedConfig",
    "SelectConfig",
    "SftConfig",
    "TrainConfig",
    "is_template_file",
]
