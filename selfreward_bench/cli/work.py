"""The work behind ``run-iteration``, ``quickstart`` and ``srbench.Run``: models made, evaluated and reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from selfreward_bench.cli import scoring
from selfreward_bench.errors import SrbenchError

if TYPE_CHECKING:
    from selfreward_bench.models.opening import Services
    from selfreward_bench.progress import Reporter
    from selfreward_bench.storage.rundir import RunDir
    from selfreward_bench.types import Prompt
    from trainers.iteration import Iteration


@dataclass
class Work:
    """One command's work on a run.

    Attributes:
        evaluate, report: whether a new model is evaluated, and the report renewed.
        benchmarks: what models are evaluated on; empty takes what the run says (``eval.after_iteration``).
        preflight: whether a round in small is trained on the base before the first model.
        services: store, prices and budget of served models in the run's roles.
        made: the models made so far, in order.
        errors: what went wrong in evaluations; the making of models goes on without them.
    """

    run: RunDir
    reporter: Reporter
    evaluate: bool = True
    report: bool = True
    benchmarks: Sequence[str] = ()
    preflight: bool = True
    services: Services | None = None
    made: list[Iteration] = field(default_factory=list)
    errors: list[SrbenchError] = field(default_factory=list)

    def make(self, until: str, from_stage: str | None = None) -> None:
        """Makes all models up to ``until``; the ones before it that lack an evaluation get theirs too.

        Raises:
            SrbenchError: a model cannot be made; or else, at the end, what the first failed evaluation raised.
        """
        from trainers.iteration import finished_models, run_iteration

        config = self.run.config
        asked = config.rewards == "oracle" or (config.select.every and config.select.judge == "oracle")
        oracle = true_score if asked else None
        with self.run.kept_lock():  # between models, too
            try:
                for target in targets(self.run, until, from_stage):
                    made = run_iteration(
                        self.run,
                        until=target,
                        from_stage=from_stage,
                        oracle=oracle,
                        reporter=self.reporter,
                        preflight=self.preflight,
                        services=self.services,
                    )
                    from_stage = None
                    self.made += made
                    self.score(finished_models(self.run))
            finally:
                self.conclude(finished_models(self.run))
        if self.errors:
            raise self.errors[0]

    def score(self, models: Sequence[str]) -> None:
        """Evaluates models where that is not done."""
        if self.evaluate and models:
            try:
                scoring.evaluate_models(self.run, models, self.reporter, self.benchmarks)
            except SrbenchError as error:
                self.errors.append(error)

    def conclude(self, models: Sequence[str]) -> None:
        """Compares what is evaluated and renews the report, once, also when the making of models broke off."""
        if self.evaluate and models:
            scoring.compare_models(self.run)
        if self.report and models:
            scoring.write_report(self.run.path)


def targets(run: RunDir, until: str, from_stage: str | None) -> list[str]:
    """The models to make, one call each; at least ``until``, so that a finished run is checked.

    Raises:
        UnknownNameError: the run has no such model or stage.
    """
    from trainers.plan import next_model, stages_from
    from trainers.stages import BASELINE, check_model, models

    check_model(run.config, until)
    chain = [m for m in models(run.config) if m != BASELINE or m == until]
    chain = chain[: chain.index(until) + 1]
    first = next_model(run, stages_from(run.config, from_stage) if from_stage else ())
    return chain[chain.index(first) :] if first in chain else [until]


def true_score(prompt: Prompt, text: str) -> float | None:
    """The reward of the control ``oracle``; only the command line knows both it and the training."""
    from selfreward_bench.micro import oracle

    return oracle.score(prompt.text, text)
