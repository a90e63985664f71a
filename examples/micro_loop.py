"""The self-rewarding loop on the embedded micro-world, from Python, with settings of one's own.

    python examples/micro_loop.py runs/beta --beta 0.3 --until M3

Needs no GPU, no key and no network. What is done is not done again: with a later --until it goes on where it was.
"""

from __future__ import annotations

import argparse
import json

import srbench


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("run", help="the run's directory")
    options.add_argument("--recipe", default="micro-fast")
    options.add_argument("--beta", type=float, default=0.2, help="how near DPO keeps the model to the one before")
    options.add_argument("--until", default="M2", help="the last model to make")
    options.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE", help="other settings")
    given = options.parse_args()

    settings = srbench.load_recipe(given.recipe, {"dpo.beta": given.beta, "with_baseline": False})
    run = srbench.Run(given.run, settings, given.more)
    print(run)
    with srbench.RichReporter() as reporter:
        made = run.run_iteration(until=given.until, reporter=reporter)
    for iteration in made:
        print(iteration.model, json.dumps(iteration.checks))

    quality = run.results.metrics("quality", "quality_sampled")
    print(quality[["checkpoint", "value", "low", "high", "n_scored"]].to_string(index=False, float_format="%.2f"))
    if len(run.models) > 1:
        first, last = run.models[0], run.models[-1]
        (found,) = srbench.compare(f"{run.path}:{first}", f"{run.path}:{last}", benchmarks="quality").benchmarks
        (main_metric,) = (m.difference for m in found.metrics if m.main and m.difference)
        print(f"{last} - {first}: {main_metric.value:+.2f} [{main_metric.low:+.2f}, {main_metric.high:+.2f}]")
    print(f"The report: {run.report()}")


if __name__ == "__main__":
    main()
