"""Opening runs and making them from what the options say."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfreward_bench.cli.console import say
from selfreward_bench.errors import ConfigError

if TYPE_CHECKING:
    from selfreward_bench.config import RunConfig
    from selfreward_bench.storage.rundir import RunDir

CONFIG_FILE = "srbench.yaml"

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Wanted:
    """The settings that a command line asks for; all empty when it asks for none.

    A recipe may be settings that were read before.
    """

    recipe: str | RunConfig | None = None
    changes: Sequence[str] = ()
    seed: int | None = None
    judge: str | None = None
    with_baseline: bool = False

    def __bool__(self) -> bool:
        return bool(self.recipe or self.changes or self.judge or self.with_baseline or self.seed is not None)

    def config(self, *, files: bool = True) -> RunConfig:
        """The resolved configuration, checked as far as that is possible without a model.

        Args:
            files: whether the base model's files and the seed data must be there.

        Raises:
            ConfigError: anything in it is wrong.
            UnknownNameError: it names a recipe, an engine, a judge prompt or a strategy that is not there.
        """
        from selfreward_bench import recipes
        from selfreward_bench.cli.checks import check_config
        from selfreward_bench.config import RunConfig

        if isinstance(self.recipe, RunConfig):
            config = recipes.change(self.recipe, self._overrides())
        else:
            config = recipes.load(self.recipe or "micro", self._overrides())
        check_config(config, files=files)
        return config

    def over(self, config: RunConfig) -> RunConfig:
        """What they make of a run's own configuration.

        A recipe counts for all but what may change in a run that is there, which the options alone do.

        Raises:
            ConfigError, UnknownNameError: as in ``config``.
        """
        from selfreward_bench import recipes

        changed = recipes.change(config, self._overrides())
        if not self.recipe:
            return changed
        asked = self.config().with_changeable(changed)
        engine = asked.engine.model_copy(update={"date": asked.engine.date or config.engine.date})
        return asked.model_copy(update={"engine": engine})

    def _overrides(self) -> list[str]:
        overrides = list(self.changes)
        overrides += [] if self.judge is None else [f"judge.prompt={json.dumps(self.judge)}"]
        overrides += [] if self.seed is None else [f"seed={self.seed}"]
        return overrides + (["with_baseline=true"] if self.with_baseline else [])


def make_run(path: Path, wanted: Wanted) -> RunDir:
    """Makes a run's directory.

    Raises:
        ConfigError, UnknownNameError: the settings cannot be used.
        IncompatibleRunError: something is there already.
        DataError: the operating system refuses.
    """
    from selfreward_bench import recipes
    from selfreward_bench.storage.rundir import RunDir

    config = recipes.anchored(wanted.config())
    announce_control(config)
    return RunDir.create(path, config)


def open_run(path: Path, wanted: Wanted, *, make: bool = True) -> RunDir:
    """Opens a run; one that is not there is made when settings for it are given.

    Settings that no stage depends on (``RunConfig.with_changeable``) and that are given for a run that is there take
    the place of its own. Where its base was refused, any may change: the refusal says which.

    Args:
        make: whether anything is written; without, there must be a run, and its settings change for this call only.

    Raises:
        ConfigError: the run is there, made with other settings than the ones given.
        IncompatibleRunError: there is no run, or one of another version.
    """
    from selfreward_bench.storage.rundir import RunDir

    if make and wanted and not (path / CONFIG_FILE).exists():
        return make_run(path, wanted)
    run = RunDir.open(path)
    asked = wanted.over(run.config) if wanted else run.config
    if changes := _differences(run.config, asked):
        from selfreward_bench.cli.checks import check_config
        from trainers.examination import ended_at_check

        if refused := ended_at_check(run):
            check_config(asked)
        else:
            _refuse_unless_changeable(run, asked)
        if make:
            run.change_settings(asked, all_of_them=refused)
            say("Changed in {}:\n{}".format(path / CONFIG_FILE, "\n".join(changes.values())), err=True)
        run.config = asked
    announce_control(run.config)
    return run


def peek_run(path: Path, wanted: Wanted) -> RunDir:
    """The run as ``open_run`` would give it, without making anything."""
    from selfreward_bench.storage.rundir import RunDir

    if wanted and not (path / CONFIG_FILE).exists():
        return RunDir(path, wanted.config())
    return open_run(path, wanted, make=False)


def announce_control(config: RunConfig) -> None:
    """Says loudly that a run is rewarded by something else than the model itself."""
    if config.signal == "rlaif":
        judge = config.judge.model.partition("#")[0]
        say(f"*** RLAIF: {judge} rewards the answers (judge.model). This is not self-reward. ***", err=True)
    what = {
        "oracle": "the exact grader of the micro-world rewards the answers: an upper bound",
        "random": "the rewards are random: no gain is to be expected",
        "length": "the longest answer wins: quality is to be expected to fall",
    }
    others = {
        "reward-model": f"the reward model {config.reward_model.name} rewards the answers",
        "implicit": "the implicit reward of DPO rewards the answers (DICE)",
        "human": "what people wrote is preferred to the model's own answers (SPIN)",
        "verifiable": "answers that come to the given ones are preferred (Iterative RPO)",
    }
    if config.rewards in others:
        say(f"*** rewards: {config.rewards}: {others[config.rewards]}. This is not self-reward. ***", err=True)
    if config.rewards in what:
        say(
            f"*** CONTROL RUN (rewards: {config.rewards}): {what[config.rewards]}. This is not self-reward. ***",
            err=True,
        )


def command(*parts: str | Path) -> str:
    """A command line to copy, its parts quoted where the shell needs it."""
    return shlex.join(["srbench", *(str(part) for part in parts)])


def changed_settings(present: RunConfig, asked: RunConfig) -> dict[str, tuple[str, str]]:
    """Key -> what it was and what it is, shortened, of each setting that differs."""
    before, now = (dict(_leaves(c.model_dump(mode="json"))) for c in (present, asked))
    differ = [key for key in before | now if before.get(key) != now.get(key)]
    return {key: (_show(before.get(key)), _show(now.get(key))) for key in differ}


def _differences(present: RunConfig, asked: RunConfig) -> dict[str, str]:
    """Key -> ``  KEY: BEFORE -> NOW`` of each setting that differs."""
    return {k: f"  {k}: {before} -> {now}" for k, (before, now) in changed_settings(present, asked).items()}


def _refuse_unless_changeable(run: RunDir, asked: RunConfig) -> None:
    if refused := _differences(run.config.with_changeable(asked), asked):
        listing = "\n".join(refused.values())
        raise ConfigError(
            f"{run.path} was made with other settings than the ones given now:\n{listing}\n"
            "Leave the options away to go on with it, or make another run with them (`srbench init`). Only settings of "
            "the evaluation (eval, judge.request), trackers (track), replicas (cluster), the processes of trainings "
            "(train) and vLLM servers (engine.urls, engine.start_timeout) can change in a run that is there."
        )


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found


def _show(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
