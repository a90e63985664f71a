"""Scores finished files of two models, such as AlpacaEval annotations or FastChat judgments, and compares them.

    python examples/compare_finished.py gpt-4_single.jsonl:claude-v1 gpt-4_single.jsonl:gpt-4
    python examples/compare_finished.py one/annotations.json other/annotations.json --output runs/finished

No model is loaded and nobody is asked: the verdicts are in the files. The benchmark's own data must be there
(`srbench data pull alpaca-eval mt-bench`). Verdicts of unlike judges are told apart and not compared.
"""

from __future__ import annotations

import argparse
import sys

import srbench


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("files", nargs=2, metavar="FILE", help="finished files, or FILE:MODEL where one holds several")
    options.add_argument("--data-dir", help="where the benchmarks' data are (SRBENCH_DATA_DIR)")
    options.add_argument("--output", default="runs/finished", help="where the results go")
    given = options.parse_args()

    found = srbench.evaluate(given.files, data_dir=given.data_dir, output=given.output)
    for error in found.errors:
        print(error, file=sys.stderr)
    names = list(dict.fromkeys(r.checkpoint for r in found.results))
    if len(names) < 2:
        sys.exit("Nothing to compare: fewer than two files could be scored.")

    columns = ["checkpoint", "benchmark", "metric", "value", "low", "high", "n_scored"]
    whole = ~found.metrics().metric.str.contains("/")  # without parts such as grade/writing
    print(found.metrics()[whole][columns].to_string(index=False, float_format="%.3f"))

    a, b = names
    pairing = srbench.compare(found.root / a, found.root / b)
    for benchmark in pairing.benchmarks:
        for unlike in benchmark.unlike:
            print(f"{benchmark.benchmark}: not compared, unlike {unlike.condition}: {unlike.a} and {unlike.b}")
    differences = pairing.differences().query("main and difference.notna()")
    if differences.empty:
        sys.exit("Nothing can be compared: no benchmark has scored samples of both that were made alike.")
    print(f"\n{b} - {a}, paired by sample:")
    print(differences[["benchmark", "metric", "difference", "low", "high", "n"]].to_string(index=False))


if __name__ == "__main__":
    main()
