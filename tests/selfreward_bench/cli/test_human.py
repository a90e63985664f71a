"""`human`: a sheet, raters, and a human evaluation that stands in the report and in the exports."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from leaderboards.human.records import read_human, read_key
from selfreward_bench import recipes
from selfreward_bench.storage.rundir import RunDir

from .conftest import Cli, store_answers

RUN = Path("runs/first")


@pytest.fixture
def answered() -> None:
    """M1 and M2 have answered."""
    store_answers(RunDir.create(RUN, recipes.load("micro")).path)


def fill(name: str, *, wins: int) -> Path:
    """A rater who fills in the CSV: M2 wins the first so many comparisons and loses the others."""
    key = read_key(RUN)
    rows = list(csv.reader(io.StringIO((RUN / "human/for-raters/sheet.csv").read_text("utf-8-sig"))))
    first = {i.id: i.first for i in key.items}
    for n, row in enumerate(rows[1:]):
        row[5] = "1" if (first[row[1]] == "a") == (n < wins) else "2"
    with Path(name).open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return Path(name)


@pytest.mark.usefixtures("answered")
def test_from_the_sheet_to_the_report(cli: Cli) -> None:
    done = cli("human", "sheet", RUN, "--pairs", "M2:M1", "--n", "40")
    assert done.exit_code == 0, done.output
    assert "40 comparisons of answers to micro-quality@1" in done.stdout
    assert sorted(p.name for p in (RUN / "human" / "for-raters").iterdir()) == ["sheet.csv", "sheet.html"]
    files = [fill(f"{name}.csv", wins=n) for name, n in (("eve", 33), ("dan", 30), ("kim", 32))]
    done = cli("human", "score", *files)  # the run is found by its sheet
    assert done.exit_code == 0, done.output
    (pair,) = read_human(RUN).pairs
    assert (pair.wins, pair.ties, pair.losses) == (32, 0, 8)
    assert "M2 vs M1" in done.stdout
    assert "80.0 % [64.4, 90.9]" in done.stdout
    page = (RUN / "report.html").read_text("utf-8")
    assert "Human evaluation" in page
    assert "Krippendorff" in page
    for path in RUN.glob("human/*"):
        assert path.is_dir() or "eve" not in path.read_text("utf-8")
    table = list(csv.DictReader(io.StringIO(cli("report", RUN, "--format", "csv").stdout)))
    (win,) = (r for r in table if (r["benchmark"], r["metric"]) == ("human", "win"))
    assert (win["checkpoint"], win["against"], win["value"], win["judge"]) == ("M2", "M1", "0.8", "3 people")
    found = json.loads(cli("report", RUN, "--format", "json").stdout)["human"]
    assert [h["pairs"][0]["wins"] for h in found] == [32]
    assert "### Human evaluation" in cli("report", RUN, "--format", "markdown").stdout


@pytest.mark.usefixtures("answered")
def test_the_same_sheet_can_be_made_again_and_another_cannot(cli: Cli) -> None:
    cli("human", "sheet", RUN, "--pairs", "M2:M1", "--n", "10")
    before = {p.name: p.read_bytes() for p in RUN.glob("human/**/*") if p.is_file()}
    assert cli("human", "sheet", RUN, "--pairs", "M2:M1", "--n", "10").exit_code == 0
    refused = cli("human", "sheet", RUN, "--pairs", "M2:M1", "--n", "11")
    assert refused.exit_code == 2
    assert "holds another sheet already" in refused.stderr
    assert {p.name: p.read_bytes() for p in RUN.glob("human/**/*") if p.is_file()} == before


@pytest.mark.usefixtures("answered")
def test_a_bad_file_is_told_and_nothing_is_counted(cli: Cli) -> None:
    cli("human", "sheet", RUN, "--pairs", "M2:M1", "--n", "10")
    path = fill("a.csv", wins=3)
    path.write_text(path.read_text("utf-8").replace(",1\n", ",yes\n", 1), encoding="utf-8")
    done = cli("human", "score", path, "--run", RUN)
    assert done.exit_code == 2
    assert "column choice: 'yes' is none of 1 (first), 2 (second), 3 (tie)" in done.stderr
    assert not (RUN / "human" / "human.json").exists()


def test_ratings_without_a_run_are_told(cli: Cli) -> None:
    Path("a.csv").write_text("sheet,item,choice\nabc,def,1\n", encoding="utf-8")
    done = cli("human", "score", "a.csv")
    assert done.exit_code == 2
    assert "Name the run: --run RUN" in done.stderr


@pytest.mark.usefixtures("answered")
def test_weights_that_changed_make_it_old(cli: Cli) -> None:
    from reports.facts.reading import collect
    from selfreward_bench.types import EvalResult

    cli("human", "sheet", RUN, "--pairs", "M2:M1", "--n", "10")
    cli("human", "score", fill("a.csv", wins=3), "--run", RUN)
    assert collect(RUN).human is not None
    path = RUN / "human" / "human.json"
    path.write_text(path.read_text("utf-8").replace('"M2": ""', '"M2": "former"'), encoding="utf-8")
    result = EvalResult(
        checkpoint="M2",
        fingerprint="now",
        benchmark="micro-quality@1",
        judge=None,
        metrics={},
        config_hash="c",
        versions={},
        seconds=1,
    )
    (RUN / "M2/eval/micro-quality@1/result.json").write_text(result.model_dump_json(), encoding="utf-8")
    facts = collect(RUN)
    assert facts.human is None
    assert "The human evaluation is of other weights than the results and is left out." in facts.gaps
