"""What two checkpoints of a run answered differently: the samples that got better and worse, with pandas.

    python examples/what_changed.py runs/beta M1 M2 --benchmark quality --show 3

Reads stored results alone. Works for every benchmark that keeps answers (docs/python.md lists their columns).
"""

from __future__ import annotations

import argparse

import srbench


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("run", help="a run, or a directory of evaluations such as runs/eval")
    options.add_argument("models", nargs=2, metavar="MODEL")
    options.add_argument("--benchmark", default="quality")
    options.add_argument("--show", type=int, default=3, help="how many of each are printed")
    given = options.parse_args()
    before, after = given.models

    samples = srbench.load_results(given.run).samples(given.benchmark)
    if absent := set(given.models) - set(samples.checkpoint):
        options.error(f"no samples of {', '.join(absent)}; there are those of {', '.join(samples.checkpoint.unique())}")
    wide = samples[samples.checkpoint.isin(given.models)].pivot(
        index=["sample_id", "prompt"], columns="checkpoint", values=["value", "answer"]
    )
    change = (wide["value"][after] - wide["value"][before]).astype(float).dropna()
    answers = wide["answer"].fillna("").loc[change.index]
    words = answers.map(lambda text: len(text.split())).astype(float)

    print(f"{len(change)} samples of {given.benchmark}: {(change > 0).sum()} better, {(change < 0).sum()} worse")
    print(f"words of an answer: {words[before].mean():.1f} -> {words[after].mean():.1f}")
    longer = words[after] - words[before]
    print(f"change of value with change of length (Spearman): {change.rank().corr(longer.rank()):+.2f}")
    for title, chosen in (("Better", change.nlargest(given.show)), ("Worse", change.nsmallest(given.show))):
        for (sample_id, prompt), difference in chosen[chosen != 0].items():
            told = {name: answers[name][sample_id, prompt] for name in given.models}
            print(f"\n{title} by {abs(difference):g}: {prompt}")
            print("\n".join(f"  {name}: {text.strip()[:200]!r}" for name, text in told.items()))


if __name__ == "__main__":
    main()
