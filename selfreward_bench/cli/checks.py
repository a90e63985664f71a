"""What can be wrong with a configuration that is valid in itself: names and files that are not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from selfreward_bench.errors import ConfigError, SrbenchError, UnknownNameError

if TYPE_CHECKING:
    from selfreward_bench.config import RunConfig


def check_config(config: RunConfig, *, rewards: bool = True, files: bool = True) -> None:
    """Looks up everything a configuration names. No model is loaded.

    Args:
        rewards: whether the judge is to reward, so that its prompt must grade one answer.
        files: whether the base model's files and the seed data are looked for.

    Raises:
        ConfigError: naming all that is missing, each with its key.
    """
    if problems := list(config_problems(config, rewards, files)):
        listing = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"The settings cannot be used:\n{listing}")


def config_problems(config: RunConfig, rewards: bool = True, files: bool = True) -> Iterator[str]:
    """``KEY: MESSAGE`` for each name or file that cannot be found."""
    from selfreward_bench.engines import KINDS
    from selfreward_bench.engines.templates import check_template
    from selfreward_bench.judges.prompts import load_judge_prompt
    from trainers.commands import problems as launch_problems
    from trainers.methods import problems as method_problems
    from trainers.pairs import STRATEGIES
    from trainers.roles import problems as role_problems
    from trainers.trackers import require_trackers

    tables = (
        ("engine.kind", config.engine.kind, "engine kind", KINDS.names()),
        ("pairs.strategy", config.pairs.strategy, "pair strategy", STRATEGIES),
    )
    for key, name, kind, known in tables:
        if name not in known:
            yield f"{key}: {UnknownNameError(kind, name, known)}"
    if config.engine.kind == "vllm":
        from selfreward_bench.engines.vllm.serving import problems

        yield from problems(config.engine)
    if config.cluster:
        from selfreward_bench.engines.replicas import problems as replica_problems

        yield from replica_problems(config.engine, config.cluster)
    yield from launch_problems(config.train)
    try:
        judge = load_judge_prompt(config.judge.prompt)
        if rewards and judge.kind != "pointwise":
            yield f"judge.prompt: {config.judge.prompt!r} compares two answers; rewards need a pointwise judge prompt."
    except SrbenchError as error:
        yield f"judge.prompt: {error}"
    if config.chat_template is not None:
        try:
            check_template(config.chat_template)
        except SrbenchError as error:
            yield f"chat_template: {error}"
    try:
        require_trackers(config.track)
    except SrbenchError as error:
        yield f"track: {error}"
    if rewards:
        yield from role_problems(config)
        yield from method_problems(config)
    if files:
        yield from _base_problems(config)
        yield from _reward_model_problems(config)
        yield from _seed_problems(config)


def _seed_problems(config: RunConfig) -> Iterator[str]:
    from selfreward_bench.sources.arrow import HUB_PREFIX
    from trainers.roles import is_prompt_file

    seeds, writer = config.seeds, config.prompts.writer
    named = {"seeds.ift": seeds.ift, "seeds.eft": seeds.eft, "seeds.exclude": seeds.exclude}
    named |= {"prompts.writer": writer} if is_prompt_file(writer) else {}
    named |= {"select.prompts": config.select.prompts} if config.select.every else {}
    for key, value in named.items():
        if value is None or value == "micro":
            continue
        if value in ("", "oasst:", HUB_PREFIX):
            yield f"{key}: {value!r} names no data. Write a path or a name behind it."
            continue
        path = Path(value.removeprefix("oasst:"))
        if value.startswith(HUB_PREFIX) or path.is_dir():  # what is in them is known when they are read
            continue
        if not path.is_file():
            meant = ", or who writes" if key == "prompts.writer" else " or `micro`"
            yield f"{key}: no file {str(path)!r} (from {Path.cwd()}). Give the path of a file{meant}."


def _reward_model_problems(config: RunConfig) -> Iterator[str]:
    from selfreward_bench.sources.hub import is_hub_name

    name = config.reward_model.name if config.rewards == "reward-model" else None
    if name and not Path(name).is_dir() and not is_hub_name(name):
        yield f"reward_model.name: no directory {name!r} (from {Path.cwd()}), and no name of the hub (OWNER/NAME)."


def _base_problems(config: RunConfig) -> Iterator[str]:
    """Of a base model that is a directory; whether the hub has a model is known when it is asked for it.

    Only what its files tell without any library; `srbench check` and the run's first stage look closer.
    """
    from selfreward_bench.bases.files import file_findings
    from selfreward_bench.bases.findings import Purpose
    from selfreward_bench.sources.hub import is_hub_name

    base = config.base
    if base != "micro" and (Path(base).is_dir() or not is_hub_name(base)):
        purpose = Purpose(config.engine, config)
        yield from (f"base: {f.text}" for f in file_findings(Path(base), purpose) if f.severity == "refusal")
