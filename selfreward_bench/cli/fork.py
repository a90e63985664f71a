"""``srbench fork``: another run that keeps what one has made, up to where its settings differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from selfreward_bench.cli import options
from selfreward_bench.cli.console import say
from selfreward_bench.cli.runs import Wanted, changed_settings, command


def fork(
    run: options.Run,
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The directory of the new run.")],
    at: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="STAGE", help="The first stage to be made anew: M2/pairs. Found out unless given."
        ),
    ] = None,
    change: options.Set = None,
    judge: options.Judge = None,
) -> None:
    """Make a run that keeps what another has made, and goes on with other settings.

    An ablation costs only what it changes: everything before the first stage that the new settings touch is taken over
    with its records, weights and evaluations (large files are linked). The new run says where it comes from. A setting
    that would have changed something before --from is refused.

    \b
    Examples:
      srbench fork runs/first runs/gap --set pairs.min_gap=0.5
      srbench fork runs/first runs/beta --from M2/train --set dpo.beta=0.2
    """
    from selfreward_bench.cli.checks import check_config
    from selfreward_bench.storage.rundir import RunDir
    from trainers.forking import fork as make
    from trainers.stages import stages

    opened = RunDir.open(run)
    config = Wanted(None, change or (), None, judge).over(opened.config)
    check_config(config)
    made = make(opened, new, config, changed_settings(opened.config, config), at)
    first = next((spec.name for spec in stages(config) if spec.name not in made.kept), made.at)
    say(f"Made {new} from {run}: it keeps {len(made.kept)} stages and goes on at {first}.")
    for key, (before, now) in made.changes.items():
        say(f"  {key}: {before} -> {now}")
    say(f"Next: {command('run-iteration', new)}")
