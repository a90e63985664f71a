"""What all stages of a run need: how far each is, the run's models and those that help, and one open engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from selfreward_bench.config import RunConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import Engine
from selfreward_bench.engines.templates import Chosen, of_run
from selfreward_bench.errors import IncompatibleRunError, LoopViolation
from selfreward_bench.judges.pointwise import JudgeItem, PointwiseJudge
from selfreward_bench.micro import base_path
from selfreward_bench.models.opening import Services
from selfreward_bench.progress import Reporter
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.storage.model_files import files_fingerprint
from selfreward_bench.storage.rundir import RunDir, Stage, hash_file
from trainers import rewards, roles
from trainers.rendering import local_directory
from trainers.rewards import Oracle
from trainers.serving import Helpers
from trainers.stages import BASELINE, served_file

__all__ = ["BASE_FILES", "StopBefore", "Workshop", "base_directory", "checkpoint_of"]

BASE_FILES = "base_files"  # among what a training from M0 left: ``files_fingerprint`` of the base
#: stages whose numbers a model's kernels decide
_COMPUTED = ("reviews", "prompts", "candidates", "first", "judgments", "consistency", "meta", "rehearsal", "train")


def base_directory(config: RunConfig) -> Path:
    """Where M0 is: the embedded base, or what the recipe names (a hub id is downloaded when it is first asked for).

    Raises:
        EngineError: the recipe names no directory and nothing the hub can give, or no whole checkpoint in safetensors.
    """
    return base_path() if config.base == "micro" else _directory_of(config.base)


@cache
def _directory_of(base: str) -> Path:
    return local_directory(base)


def checkpoint_of(run: RunDir, model: str) -> Path:
    """The directory of a model's weights; ``M0`` is the base."""
    return base_directory(run.config) if model == "M0" else run.path / model / "checkpoint"


class StopBefore(Exception):
    """The stage is reached that was not to be looked at, or one that is not made yet."""


class Workshop:
    """One call's state: the run, who listens, who helps, and the engine that is open.

    Args:
        stop_before: only what stands before this stage is compared with what it was made from; raises ``StopBefore``.
    """

    def __init__(
        self,
        run: RunDir,
        reporter: Reporter,
        oracle: Oracle | None,
        *,
        stop_before: str | None = None,
        services: Services | None = None,
    ) -> None:
        self.stop_before = stop_before
        self.reached = ""  # the stage that was looked at last
        self.run = run
        self.config = run.config
        self.reporter = reporter
        self.oracle = oracle
        self.helpers = Helpers(run.config, services)
        self.fingerprints: dict[str, str] = {}
        self._engine: tuple[str, Engine] | None = None

    @contextmanager
    def stage(self, name: str, inputs: Mapping[str, str], settings: Mapping[str, object]) -> Iterator[Stage | None]:
        """Yields the stage to be worked on, or None when it is done already."""
        self.reached = name
        if self.stop_before and (name == self.stop_before or self.run.stage_status(name) == "new"):
            raise StopBefore
        computed = self.config.engine.numerics if name.rpartition("/")[2] in _COMPUTED else {}
        stage = self.run.stage(name, inputs, {"seed": self.config.seed, **settings, **computed})
        if self.stop_before and stage.status != "done":
            raise StopBefore
        if stage.status == "done":
            self.reporter.finished(name, stage.counts, stage.seconds, skipped=True)
            yield None
            return
        try:
            yield stage
        finally:
            self.record_served(name)
        self.reporter.finished(name, stage.counts, stage.seconds)

    def record_served(self, name: str) -> None:
        """What a served model told of itself in a stage, and of its calls; also of a stage that is not done."""
        model, _, kind = name.rpartition("/")
        if self._engine and self._engine[0] == roles.STAGES.get(kind):
            role, engine = self._engine
            self.helpers.record(role, engine, self.path(model, served_file(kind)))
            for note in getattr(engine, "take_notes", tuple)():
                self.reporter.message(note)

    def outputs(self, name: str) -> dict[str, str]:
        """What a finished stage made: file -> hash."""
        stage = self.run.finished_stage(name)
        if stage is None:
            raise LoopViolation(f"{self.run.path}: stage {name} is not complete, but a later one needs it.")
        return stage.outputs

    def path(self, model: str, file: str) -> Path:
        return self.run.path / model / file

    def fingerprint(self, model: str) -> str:
        """Of the weights of a model of the run, or of the one that has a role.

        Raises:
            IncompatibleRunError: a checkpoint that an earlier stage left was exchanged or changed since.
        """
        if model in self.helpers:
            return self.helpers[model].fingerprint
        if model not in self.fingerprints:
            directory = checkpoint_of(self.run, model)
            found = weights_fingerprint(directory)
            beside = files_fingerprint(directory)
            self.run.check_weights(model, found, beside)
            if model == "M0":
                self._check_base(directory, beside)
            self.fingerprints[model] = found
        return self.fingerprints[model]

    def _check_base(self, directory: Path, found: str) -> None:
        """What stands beside the base's weights (a template, say) is what it was when the run's models came of it."""
        for model in (BASELINE, "M1"):
            stage = self.run.finished_stage(f"{model}/train")
            if stage and stage.outputs.get(BASE_FILES, found) != found:
                raise IncompatibleRunError(
                    f"The base {directory} has another configuration, tokenizer or chat template than when {model} was "
                    f"trained from it. Put back what was there, or train anew: --from-stage {model}/train"
                )

    def engine(self, model: str) -> Engine:
        """The engine on a model's weights, or on the one that has a role; one is open at a time."""
        if self._engine and self._engine[0] != model:
            self.close()
        if self._engine is None:
            self._engine = (model, self._open(model))
        return self._engine[1]

    @contextmanager
    def engine_on(self, directory: Path | None, model: str) -> Iterator[Engine]:
        """The engine on a checkpoint that is no model of the run yet; without one, on ``model``."""
        if directory is None:
            yield self.engine(model)
            return
        self.close()
        chosen = of_run(self.config, "M1", directory)  # as of any model that was trained
        template = chosen.given if chosen else None
        engine = open_engine(self.config.engine, directory, threads=self.config.threads, chat_template=template)
        try:
            yield engine
        finally:
            engine.close()

    def _open(self, model: str) -> Engine:
        if model in self.helpers:
            return self.helpers[model].open()
        return open_engine(
            self.config.engine,
            checkpoint_of(self.run, model),
            threads=self.config.threads,
            chat_template=self.chat_template(model),
            cluster=self.config.cluster,
        )

    def chat_template(self, model: str) -> str | None:
        """What renders a model's messages instead of its own template; told."""
        chosen = of_run(self.config, model, checkpoint_of(self.run, model))
        if chosen and (told := chosen.told(model)):
            self.reporter.message(told)
        return chosen.given if chosen else None

    def rendering(self, model: str) -> dict[str, str]:
        """For the settings of a stage that works with a model: the template that the recipe names for it."""
        named = self.config.chat_template
        return {"chat_template": Chosen(named).key} if model == "M0" and named is not None else {}

    def close(self) -> None:
        """Closes the engine that is open, before something is trained and at the end."""
        if self._engine:
            self._engine[1].close()
        self._engine = None

    def judge(self, model: str, stage: str) -> PointwiseJudge:
        return PointwiseJudge.from_config(
            self.engine(model),
            self.config.judge,
            run_seed=self.config.seed,
            stage=stage,
            checkpoint=self.fingerprint(model),
        )

    def tidy(self, judge: str, path: Path, items: Sequence[JudgeItem]) -> None:
        """A served judge's verdicts come in any order; their file, on which later stages depend, has one."""
        if judge in self.helpers and self.helpers[judge].served:
            rewards.put_in_order(path, items)

    def finish(self, stage: Stage, counts: Mapping[str, float], *files: str) -> None:
        engine = self._engine[1] if self._engine else None
        if halved := getattr(engine, "halved", 0):
            counts = {**counts, "halved": halved}
            for note in getattr(engine, "take_notes", tuple)():
                self.reporter.message(note)
        stage.finish(counts, {file: hash_file(stage.records_path(file)) for file in files})
