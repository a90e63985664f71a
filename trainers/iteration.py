"""The self-rewarding loop: makes the next model of a run, stage by stage, and checks itself while it does.

M1 is M0 fine-tuned on IFT and EFT. M_t+1 is M_t trained by DPO on preferences that M_t itself made: prompts,
candidates, judgments, pairs. A stage is skipped when done, refused when its inputs changed, resumed if it was cut off.
What a stage does is in the module of its name; ``trainers.supervised`` and ``trainers.preference_round`` put those of a
model in order, this one the models.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from selfreward_bench.errors import ConfigError, IncompatibleRunError, UnknownNameError
from selfreward_bench.models.opening import Services
from selfreward_bench.progress import Reporter, Silent
from selfreward_bench.storage.rundir import RunDir
from trainers import methods
from trainers.commands import require as require_launch
from trainers.environment import one_process
from trainers.examination import examine_run
from trainers.making import Iteration
from trainers.plan import next_model, stages_from
from trainers.preference_round import PreferenceRound
from trainers.rewards import Oracle
from trainers.stages import check_model, models, parent_of, stages
from trainers.supervised import SEED_STAGE, Supervised
from trainers.workshop import StopBefore, base_directory

__all__ = ["Iteration", "check_stages", "finished_models", "first_change", "run_iteration"]


def finished_models(run: RunDir) -> list[str]:
    """The models of a run that are complete, in order."""
    return [m for m in models(run.config) if (run.path / m / "iteration.json").exists()]


def run_iteration(
    run: RunDir,
    *,
    until: str | None = None,
    from_stage: str | None = None,
    oracle: Oracle | None = None,
    reporter: Reporter | None = None,
    preflight: bool = True,
    services: Services | None = None,
) -> list[Iteration]:
    """Makes the next model of a run, or all up to ``until``.

    Args:
        until: name of the last model to make (``M3``); None makes one.
        from_stage: deletes this stage and all later ones first (``M2/candidates``).
        oracle: grades a response truly; only for the reward control ``rewards: oracle``.
        reporter: told the course of the work.
        preflight: whether a round in small is trained on the base before anything else, once (``trainers.preflight``).
        services: store, prices and budget of served models that help; None takes the user's store, without a limit.

    Returns:
        The models made now, in order (the baseline first when it was trained now).

    Raises:
        EngineError: the base cannot be trained with these settings.
        LoopViolation: a check of the loop itself failed; nothing is made from what failed.
        IncompatibleRunError: a stage was made with other inputs or settings; the message names them.
        TrainingError: training could not go on; the last good state is kept.
        ConfigError: torchrun started this process and others beside it, or a role cannot be filled.
    """
    loop = _Loop(run, reporter or Silent(), oracle, services=services)
    with one_process(loop.reporter.message), run.lock(), closing(loop):
        anew = stages_from(run.config, from_stage) if from_stage else []
        last = until or next_model(run, anew)
        if last is None:
            return []
        check_model(run.config, last)
        if anew:  # nothing is deleted where what stays does not fit, or what follows cannot be made
            _require_up_to(last, anew)
            check_stages(run, anew[0], oracle)
        if last not in finished_models(run) or anew:
            require_launch(run.config.train)
            methods.check(run.config, oracle=oracle is not None)
            loop.helpers.check()  # what is wrong with names, keys and seed data is said first: it takes no time
            loop.check_reward()
            loop.read_seeds() if SEED_STAGE in anew else loop.seed_ift()
            examine_run(run, base_directory(run.config), flight=preflight, reporter=loop.reporter)
        if anew:
            run.reset_from(anew[0], [(s.name, s.paths) for s in stages(run.config)])
        made = []
        for model in models(run.config):
            before = (run.path / model / "iteration.json").exists()
            iteration = loop.make(model)
            if not before:
                made.append(iteration)
            if model == last:
                break
        return made


def _require_up_to(last: str, anew: Sequence[str]) -> None:
    """Whether the last model to make is one of those that are made anew."""
    if not any(name.partition("/")[0] == last for name in anew):
        raise ConfigError(
            f"--from-stage {anew[0]} deletes that stage and all after it, and {last} stands before it. Name a later "
            "model with --until, or leave it out."
        )


def check_stages(run: RunDir, before: str, oracle: Oracle | None = None) -> None:
    """Checks that what stands before a stage was made with the run's settings and inputs. Nothing is written.

    Raises:
        UnknownNameError: the run has no such stage.
        IncompatibleRunError: an earlier stage was made with something else.
    """
    if before not in (names := [s.name for s in stages(run.config)]):
        raise UnknownNameError("stage", before, names)
    try:
        loop = _Loop(run, Silent(), oracle, stop_before=before)
        for model in models(run.config):
            loop.make(model)
    except StopBefore:
        return


def first_change(run: RunDir) -> str | None:
    """The first stage that the run's settings and inputs do not fit, or that is not made yet; None where all fit.

    Args:
        run: a run's directory, with settings that may be other than its own.
    """
    loop = _Loop(run, Silent(), None, stop_before="none")
    try:
        for model in models(run.config):
            loop.make(model)
    except (StopBefore, IncompatibleRunError):
        return loop.reached
    return None


class _Loop(Supervised, PreferenceRound):
    """The stages of a run, each with what it is made from."""

    def make(self, model: str) -> Iteration:
        """The model's stages, each made, gone on with or found done; then its record."""
        return self.supervised(model) if parent_of(model) == "M0" else self.preferences(model)
