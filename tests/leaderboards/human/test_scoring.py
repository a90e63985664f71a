"""What ratings come to: majorities as in the paper, exact intervals, agreement, and judges against people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from leaderboards.head_to_head.answers import store_answers as store_given
from leaderboards.head_to_head.verdicts import Verdict
from leaderboards.human.drawing import draw
from leaderboards.human.labels import ratings
from leaderboards.human.records import HumanEvaluation, Sheet
from leaderboards.human.scoring import evaluated, majority
from leaderboards.micro import test_prompts as prompts_of
from leaderboards.standings import DriftJudge, DriftMatrix, Tournament, write_record
from selfreward_bench.micro import oracle as oracle_of
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Completion, Judgment, Message, Metric, Prompt

from .conftest import Write, answered, choice


def rated(run: RunDir, sheet: Sheet, write: Write, *raters: Sequence[str]) -> HumanEvaluation:
    """Each rater finds these outcomes of the first items of the sheet; the rest is not rated."""
    paths = []
    for n, outcomes in enumerate(raters):
        said = {item.id: choice(sheet.key, item.id, o) for item, o in zip(sheet.key.items, outcomes, strict=False) if o}
        paths.append(write(f"{n}.csv", said))
    return evaluated(run.path, sheet.key, ratings(paths, sheet.key))


def test_majority_of_three_as_in_the_paper() -> None:
    assert majority([1.0, 1.0, 0.0]) == 1.0
    assert majority([0.0, 0.5, 0.0]) == 0.0
    assert majority([1.0, 0.5, 0.0]) == 0.5  # no two agree
    assert majority([1.0, 0.0]) == 0.5
    assert majority([1.0]) == 1.0
    assert majority([]) is None


def test_wins_are_those_of_the_model_named_first_wherever_it_stood(run: RunDir, sheet: Sheet, write: Write) -> None:
    n = len(sheet.key.items)
    found = rated(run, sheet, write, ["win"] * n, ["win"] * (n - 1) + ["tie"], ["loss"] * (n - 1) + ["win"])
    (pair,) = found.pairs
    assert (pair.a, pair.b, pair.wins, pair.ties, pair.losses) == ("M2", "M1", 72, 8, 0)
    assert (pair.identical, pair.undecided) == (8, 0)
    assert {i.first for i in sheet.key.items} == {"a", "b"}
    assert pair.direction == 1
    assert found.raters[0].first == pytest.approx(0.5)  # as often the second as the first


def test_intervals_are_exact(run: RunDir, sheet: Sheet, write: Write) -> None:
    outcomes = ["win"] * 20 + ["tie"] * 22 + ["loss"] * 30
    (pair,) = rated(run, sheet, write, outcomes, [*outcomes[:70], "tie", "loss"], [*outcomes[:71], "tie"]).pairs
    for share, k in ((pair.win, 20), (pair.tie, 30), (pair.loss, 30)):
        exact = binomtest(k, 80).proportion_ci(0.95, "exact")
        assert (share.value, share.low, share.high) == (k / 80, pytest.approx(exact.low), pytest.approx(exact.high))
    assert pair.p_value == pytest.approx(binomtest(20, 50).pvalue)
    assert pair.net_win.value == pytest.approx(-10 / 80)
    assert pair.direction == 0


def test_a_comparison_without_majority_is_a_tie(run: RunDir, sheet: Sheet, write: Write) -> None:
    found = rated(run, sheet, write, ["win", "win"], ["tie", "win"], ["loss", "tie"])
    (pair,) = found.pairs
    assert (pair.wins, pair.ties, pair.losses, pair.undecided) == (1, 1 + 8, 0, 1)
    assert (pair.win.n_scored, pair.win.n_total) == (10, 80)


def test_agreement_is_that_of_the_libraries(run: RunDir, sheet: Sheet, write: Write) -> None:
    reference = pytest.importorskip("statsmodels.stats.inter_rater")
    said = [[("win", "tie", "loss")[(i * k + i // 5) % 3] for i in range(72)] for k in (1, 1, 2)]
    said[1][::4] = ["win"] * 18
    found = rated(run, sheet, write, *said)
    table, _ = reference.aggregate_raters([list(row) for row in zip(*said, strict=True)])
    assert found.fleiss_kappa.value == pytest.approx(reference.fleiss_kappa(table))
    assert found.fleiss_kappa.low is not None
    assert found.same.value == sum(len(set(row)) == 1 for row in zip(*said, strict=True)) / 72


def test_what_not_all_have_rated_counts_for_alpha_alone(run: RunDir, sheet: Sheet, write: Write) -> None:
    found = rated(run, sheet, write, ["win", "loss", "tie"], ["win", "loss", ""], ["win", "loss", "tie"])
    assert (found.fleiss_kappa.n_scored, found.krippendorff_alpha.n_scored) == (2, 3)
    assert found.krippendorff_alpha.value == 1
    assert "70 of 72 comparisons were not rated by all 3 raters." in found.notes


def test_one_rater_has_nobody_to_agree_with(run: RunDir, sheet: Sheet, write: Write) -> None:
    found = rated(run, sheet, write, ["win"] * 5)
    assert found.fleiss_kappa.value is found.krippendorff_alpha.value is found.same.value is None
    assert any("One rater alone" in note for note in found.notes)


def test_nothing_tells_who_rated(run: RunDir, sheet: Sheet, write: Write, tmp_path: Path) -> None:
    path = write("eve-smith.csv", {sheet.key.items[0].id: "1"})
    found = evaluated(run.path, sheet.key, ratings([path], sheet.key))
    assert "eve" not in found.model_dump_json()
    assert [r.rater for r in found.raters] == ["A"]


def graded(run: RunDir, sheet: Sheet, judge: str, better: Sequence[str]) -> None:
    """A checkpoint's grades in the drift matrix: the better answer gets 4, the other 2; equal ones 3."""
    folder = run.path / "drift" / judge
    folder.mkdir(parents=True)
    made = []
    for item, outcome in zip(sheet.key.items, better, strict=False):
        scores = {"win": (4, 2), "loss": (2, 4), "tie": (3, 3)}[outcome]
        for text, score in zip((item.text_a, item.text_b), scores, strict=True):
            made.append(Judgment(prompt_id=f"{item.prompt_id}#{text}", index=0, judge="k", score=score, raw=""))
    jsonl.write(folder / "judgments-1.jsonl", made)
    other = [j.model_copy(update={"judge": "another setting", "score": 1}) for j in made]
    jsonl.write(folder / "judgments-2.jsonl", other)


def drift(*judges: str) -> DriftMatrix:
    some = Metric(value=3, n_scored=1, n_total=1)
    of_all = tuple(DriftJudge(name=n, key="k", mean_score=some) for n in judges)
    return DriftMatrix(
        judges=of_all, authors=judges, scores=(), agreement=(), pool_hash="p", n_prompts=1, n_responses=2
    )


def test_each_checkpoint_is_held_against_people(run: RunDir, sheet: Sheet, write: Write) -> None:
    people = ["win"] * 30 + ["loss"] * 30 + ["tie"] * 12
    judge = ["win"] * 20 + ["tie"] * 10 + ["loss"] * 30 + ["win"] * 12
    graded(run, sheet, "M1", judge)
    graded(run, sheet, "M2", people[:40])
    write_record(run.path / "drift.json", drift("M1", "M2"))
    found = {j.judge: j for j in rated(run, sheet, write, people, [*people[:71], "loss"], [*people[:71], "win"]).judges}
    assert found["M1"].way == "graded"
    assert found["M1"].agreement.value == pytest.approx((20 + 10 / 2 + 30) / 60)
    assert found["M1"].agreement.n_scored == 60
    assert found["M1"].kappa.value == pytest.approx(cohen_kappa_score(people, judge))
    assert (found["M2"].agreement.value, found["M2"].agreement.n_scored, found["M2"].agreement.n_total) == (1, 40, 60)
    assert set(found) == {"oracle", "M1", "M2"}


def test_the_oracle_of_the_micro_world_judges_too(tmp_path: Path, write: Write) -> None:
    run = RunDir.create(tmp_path / "runs" / "second", RunDir.open(tmp_path / "runs" / "first").config)
    right = {p.id: p.text for p in prompts_of(run.config)[:80]}
    answered(run, "M1", lambda i, name: "x")
    answered(run, "M2", lambda i, name: _best(right[name]))
    drawn = draw(run.path, [("M2", "M1")], 80, 0)
    better = [
        score(right[i.prompt_id], _best(right[i.prompt_id])) > score(right[i.prompt_id], "x") for i in drawn.key.items
    ]
    assert 0 < sum(better) < len(better)
    said = {i.id: choice(drawn.key, i.id, "win" if w else "tie") for i, w in zip(drawn.key.items, better, strict=True)}
    path = tmp_path / "o.csv"
    rows = "\n".join(f"{drawn.key.sheet},{item},{c}" for item, c in said.items())
    path.write_text(f"sheet,item,choice\n{rows}", encoding="utf-8")
    (oracle,) = evaluated(run.path, drawn.key, ratings([path], drawn.key)).judges
    assert (oracle.judge, oracle.agreement.value, oracle.kappa.value) == ("oracle", 1, 1)
    assert oracle.agreement.n_scored == sum(better)


def score(prompt: str, text: str) -> float:
    return oracle_of.score(prompt, text) or 0.0


def _best(prompt: str) -> str:
    """A text that the oracle grades above nonsense."""
    candidates = [prompt, f"{prompt} {prompt}", "It is a small red thing.", "A, b, c.", prompt.rpartition(" ")[2]]
    return max(candidates, key=lambda text: score(prompt, text))


def test_the_judge_of_head_to_head_is_held_against_people(tmp_path: Path) -> None:
    prompts = [Prompt(id=f"p{n}", messages=(Message(role="user", content=f"Q{n}"),)) for n in range(30)]
    for model in ("a", "b"):
        answers = [
            Completion(prompt_id=p.id, index=0, text=f"{model} {p.id}", n_tokens=1, finish_reason="stop", seed=0)
            for p in prompts
        ]
        store_given(tmp_path / model / "eval" / "head-to-head@1", model, f"f-{model}", prompts, answers, "s")
    folder = tmp_path / "head-to-head"
    folder.mkdir()
    jsonl.write(folder / "prompts.jsonl", prompts)
    verdicts = [
        Verdict(
            a="b", b="a", prompt_id=p.id, order=order, content="c", preference=liked if order == "ab" else 1 - liked
        )
        for n, p in enumerate(prompts)
        for order in ("ab", "ba")
        for liked in ((1.0,) if n < 10 else (0.0,) if n < 20 else (1.0 if order == "ab" else 0.0,))
    ]
    jsonl.write(folder / "comparisons.jsonl", verdicts)
    held = Tournament(
        benchmark="head-to-head@1",
        checkpoints={"a": "f-a", "b": "f-b"},
        judge="judge-x",
        rule="agree",
        anchor="a",
        n_prompts=30,
        pairs=(),
        ratings=(),
        comparability={},
    )
    write_record(folder / "head_to_head.json", held)
    drawn = draw(tmp_path, [("a", "b")], 30, 0)
    assert drawn.key.source == "head-to-head@1"
    assert drawn.key.checkpoints == {"a": "f-a", "b": "f-b"}
    number = {item.id: int(item.prompt_id[1:]) for item in drawn.key.items}
    said = {i: choice(drawn.key, i, "loss" if n < 15 else "win") for i, n in number.items()}
    rows = "\n".join(f"{drawn.key.sheet},{item},{c}" for item, c in said.items())
    (tmp_path / "o.csv").write_text(f"sheet,item,choice\n{rows}", encoding="utf-8")
    (judge,) = evaluated(tmp_path, drawn.key, ratings([tmp_path / "o.csv"], drawn.key)).judges
    # b wins ten, as people say; of the ten that a wins people give five to a; where its orders differ it is a tie
    assert (judge.judge, judge.way) == ("judge-x", "compared")
    assert judge.agreement.value == pytest.approx((10 + 5 + 10 / 2) / 30)


def test_answers_made_anew_are_no_longer_what_people_saw(run: RunDir, sheet: Sheet, write: Write) -> None:
    graded(run, sheet, "M1", ["win"] * 72)
    write_record(run.path / "drift.json", drift("M1"))
    path = run.path / "M2" / "eval" / "micro-quality@1" / "answers.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("An answer, m2", "Another, m2"), encoding="utf-8")
    found = rated(run, sheet, write, ["win"] * 72)
    assert found.judges == () or all(j.kappa.n_scored == 0 for j in found.judges)
