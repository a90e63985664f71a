"""The run's side of selecting a step: who compares, on which prompts, with which engines (``trainers.selection``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from selfreward_bench.errors import ConfigError
from selfreward_bench.judges.pairwise import PairwiseJudge
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.storage.rundir import Stage
from selfreward_bench.types import Completion
from trainers import prompt_files, roles, selection
from trainers.contests import validation
from trainers.roles import ORACLE
from trainers.training import TrainResult
from trainers.workshop import Workshop

__all__ = ["Selecting"]


class Selecting(Workshop):
    """A workshop that can train up to the step that a judge chooses."""

    def selector(self, parent: str) -> str:
        """Who compares checkpoints; ``oracle`` is no model."""
        if self.config.select.judge == ORACLE:
            return ORACLE
        return roles.who(self.config, roles.SELECTOR, parent)

    def selection_inputs(self, parent: str) -> dict[str, str]:
        judge = self.selector(parent)
        told = ORACLE if judge == ORACLE else self.fingerprint(judge)
        return {"validation": prompt_files.digest(validation(self.config)), "selected by": told}

    def selected(self, stage: Stage, parent: str, begin: Callable[..., TrainResult]) -> TrainResult:
        """Trains up to the step that a judge chooses (``trainers.selection``)."""
        section, prompts, judge = self.config.select, validation(self.config), self.selector(parent)
        name = "oracle (micro-world, validation split)" if judge == ORACLE else roles.shown(self.config, roles.SELECTOR)
        if judge == ORACLE and (self.oracle is None or self.config.base != "micro"):
            raise ConfigError(
                "select.judge: oracle needs a world whose true scores are known, the embedded micro-world (base: "
                "micro). Name a model, or take self."
            )

        def train(step: int) -> TrainResult:
            self.close()
            return begin(until=step)

        def answer(model: Path | None, path: Path) -> list[Completion]:
            with self.engine_on(model, parent) as engine:
                sampling = self.config.candidates.sampling
                return selection.answers_of(engine, prompts, sampling, self.config.seed, stage.name, path)

        def verdicts(path: Path, before: Sequence[Completion], now: Sequence[Completion]) -> list[float | None]:
            if judge == ORACLE and self.oracle is not None:
                return selection.by_grade(self.oracle, prompts)(path, before, now)
            asked = PairwiseJudge(
                self.engine(judge),
                load_judge_prompt(section.prompt),
                run_seed=self.config.seed,
                stage=f"{stage.name}/select",
                checkpoint=self.fingerprint(judge),
            )
            return selection.by_judge(asked, prompts)(path, before, now)

        return selection.select_step(
            stage.directory, section.every or 0, train=train, answer=answer, verdicts=verdicts, judge=name
        )
