"""``srbench init``: makes a run's directory."""

from __future__ import annotations

from selfreward_bench.cli import options
from selfreward_bench.cli.console import say
from selfreward_bench.cli.runs import CONFIG_FILE, Wanted, command, make_run


def init(
    run: options.Run,
    recipe: options.Recipe = None,
    change: options.Set = None,
    seed: options.Seed = None,
    judge: options.Judge = None,
    with_baseline: options.WithBaseline = False,
) -> None:
    """Make a run's directory with its settings.

    All settings are written into its srbench.yaml. The recipe is `micro` unless another is given. Nothing is trained
    yet.

    \b
    Examples:
      srbench init runs/first
      srbench init runs/other --recipe micro --set dpo.beta=0.2 --seed 3
    """
    made = make_run(run, Wanted(recipe, change or (), seed, judge, with_baseline))
    say(
        f"Made {made.path} (recipe {made.config.name}, seed {made.config.seed}); settings in {made.path / CONFIG_FILE}."
    )
    say(f"Next: {command('run-iteration', run)}")
