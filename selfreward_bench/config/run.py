"""One whole run: its own settings, all sections, and what must fit together between them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from selfreward_bench.config.beside import RehearsalConfig, SelectConfig
from selfreward_bench.config.data import CandidatesConfig, PairsConfig, PromptsConfig, SeedConfig
from selfreward_bench.config.engine import ClusterConfig, EngineConfig
from selfreward_bench.config.evaluation import EvalConfig
from selfreward_bench.config.judging import ImplicitConfig, JudgeConfig, MetaConfig, RewardModelConfig, Rewards
from selfreward_bench.config.section import LIST, PositiveInt, Section
from selfreward_bench.config.training import DpoConfig, LoraConfig, SftConfig, TrainConfig

Tracker = Literal["tensorboard", "wandb", "trackio", "mlflow"]


def is_template_file(chat_template: str) -> bool:
    """Whether what ``RunConfig.chat_template`` says is a file's path, and no name."""
    return chat_template != "plain" and not chat_template.startswith("fastchat:")


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
    track: Annotated[tuple[Tracker, ...], LIST] = Field(
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
        trainings, where servers are and how long one may take to start): they are the other's."""
        judge = self.judge.model_copy(update={"request": other.judge.request})
        free = {"eval": other.eval, "judge": judge, "track": other.track, "cluster": other.cluster}
        places = {"urls": other.engine.urls, "start_timeout": other.engine.start_timeout}
        return self.model_copy(update=free | {"train": other.train, "engine": self.engine.model_copy(update=places)})
