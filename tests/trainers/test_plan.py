"""The plan of a run: amounts from the configuration and from what is there, times from finished stages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfreward_bench import recipes
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import UnknownNameError
from selfreward_bench.storage.rundir import RunDir
from trainers.calls import role_calls
from trainers.plan import Plan, StagePlan, make_plan, next_model, stages_from

SETTINGS = [
    "with_baseline=false",
    "sft.batch_size=4",
    "sft.epochs=2",
    "dpo.batch_size=8",
    "prompts.count=100",
    "candidates.count=4",
    "judge.prompt=micro",
]


def config(folder: Path, *settings: str, reviews: bool = True) -> RunConfig:
    """The micro recipe on ten IFT examples and four prompts with two ranked responses each."""
    ift = [{"id": f"i{n}", "prompt": f"Name number {n}.", "completion": f"It is {n}."} for n in range(10)]
    review = {"review": "Score: 4"} if reviews else {}
    responses = [{"text": "Yes.", "rank": 0, **review}, {"text": "No.", "rank": 1, "review": "Score: 1"}]
    eft = [{"id": f"e{n}", "prompt": f"Tell of {n}.", "responses": responses} for n in range(4)]
    for name, lines in (("ift", ift), ("eft", eft)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    sources = [f"seeds.ift={folder / 'ift.jsonl'}", f"seeds.eft={folder / 'eft.jsonl'}", "seeds.exclude=null"]
    return recipes.load("micro-plain", [*sources, *SETTINGS, *settings])


def stage(plan: Plan, name: str) -> StagePlan:
    return next(s for s in plan.stages if s.name == name)


def done(run: RunDir, name: str, seconds: float = 1.0, **counts: float) -> None:
    made = run.stage(name, {}, {})
    made.finish(counts, {})
    marker = json.loads(made.done_path.read_text(encoding="utf-8"))
    made.done_path.write_text(json.dumps(marker | {"seconds": seconds}), encoding="utf-8")


def amounts(plan: Plan) -> dict[str, str]:
    return {s.name: f"{s.work} {s.unit}" for s in plan.stages}


def test_amounts_of_a_run_that_is_not_there_yet(tmp_path: Path) -> None:
    plan = make_plan(RunDir(tmp_path / "none", config(tmp_path, "judge.mode=sampled", "judge.samples=3")), until="M2")
    assert plan.until == "M2"
    assert amounts(plan) == {
        "M1/ift": "10 examples",
        "M1/reviews": "0 judgments",
        "M1/eft": "at most 8 examples",
        "M1/train": "at most 10 steps",  # 18 examples in batches of 4 are 5 steps, twice
        "M2/prompts": "100 prompts",
        "M2/candidates": "400 generations",
        "M2/judgments": "at most 1,200 judgments",
        "M2/pairs": "at most 100 pairs",
        "M2/train": "at most 13 steps",
    }
    assert not (tmp_path / "none").exists()


def test_the_baseline_and_reviews_are_part_of_the_plan_where_they_are_needed(tmp_path: Path) -> None:
    plan = make_plan(RunDir(tmp_path / "a", config(tmp_path, "with_baseline=true")))
    assert str(stage(plan, "SFT/train").work) == "6"  # 10 examples in batches of 4, twice
    plan = make_plan(RunDir(tmp_path / "a", config(tmp_path, "seeds.eft_samples=3", reviews=False)))
    assert str(stage(plan, "SFT/train").work) == "6"  # it writes the missing reviews
    assert str(stage(plan, "M1/reviews").work) == "12"


def test_human_ranks_need_no_baseline_and_no_reviews(tmp_path: Path) -> None:
    bare = config(tmp_path, "seeds.reviewer=ranks", reviews=False)
    plan = make_plan(RunDir(tmp_path / "none", bare), until="M1")
    assert amounts(plan)["M1/reviews"] == "0 judgments"
    assert "SFT/train" not in amounts(plan)


@pytest.mark.parametrize(("settings", "judgments"), [(["judge.mode=expected"], 400), (["rewards=random"], 0)])
def test_judgments_by_mode_and_control(tmp_path: Path, settings: list[str], judgments: int) -> None:
    plan = make_plan(RunDir(tmp_path / "a", config(tmp_path, *settings)), until="M2")
    assert stage(plan, "M2/judgments").work.number == judgments


def test_what_methods_add_is_counted(tmp_path: Path) -> None:
    """Temporal Self-Rewarding judges others' answers and trains twice, Meta-Rewarding trains pairs of judgments."""
    temporal = ["pairs.chosen_from=own-or-next", "pairs.rejected_from=own-or-first", "judge.mode=expected"]
    found = amounts(make_plan(RunDir(tmp_path / "a", config(tmp_path, *temporal)), until="M3"))
    assert found["M3/first"] == found["M3/next/candidates"] == found["M3/candidates"] == "400 generations"
    assert found["M2/judgments"] == found["M3/next/judgments"] == "at most 400 judgments"
    assert found["M3/judgments"] == "at most 800 judgments"
    assert found["M3/next/train"] == found["M3/train"] == "at most 13 steps"
    assert "M2/first" not in found
    plan = make_plan(RunDir(tmp_path / "b", config(tmp_path, "meta.by=consensus", "judge.mode=sampled")), until="M2")
    assert amounts(plan)["M2/train"] == "at most 25 steps"  # 100 pairs of answers and 100 of judgments, by 8
    run = RunDir.create(tmp_path / "c", config(tmp_path, "meta.by=consensus", "judge.mode=sampled"))
    done(run, "M2/prompts", prompts=90)
    done(run, "M2/pairs", pairs=70)
    done(run, "M2/meta", pairs=40)
    planned = stage(make_plan(run, until="M2"), "M2/train")
    assert (str(planned.work), planned.origin) == (
        "14",
        "70 pairs of answers and 40 of judgments, 1 epoch, batches of 8",
    )
    spin = ["rewards=human", "prompts.writer=seeds", "pairs.chosen_from=human", "pairs.strategy=all-above-gap"]
    found = amounts(make_plan(RunDir(tmp_path / "d", config(tmp_path, *spin)), until="M2"))
    assert found["M2/pairs"] == "at most 400 pairs"  # what a person wrote against each of four


def test_a_served_judge_is_told_to_read_prompts_and_answers_of_people_as_long_as_they_are(tmp_path: Path) -> None:
    served = ["judge.model=openai:judge@http://127.0.0.1:9/v1", "judge.mode=sampled", "judge.samples=1"]
    short = ["prompts.sampling.max_new_tokens=1", "candidates.sampling.max_new_tokens=1"]

    def each(*settings: str) -> float:
        """Tokens that a call reads at most; a byte of what is there is one."""
        made = config(tmp_path, *served, *short, *settings)
        (found,) = role_calls(made, make_plan(RunDir(tmp_path / "none", made), until="M2"))
        return found.calls.prompt_tokens / found.calls.calls

    by_seeds = each("prompts.writer=seeds")
    assert by_seeds - each() == len("Name number 1.") - 1
    assert each("prompts.writer=seeds", "pairs.chosen_from=human") - by_seeds == len("It is 1.") - 1


def test_what_is_there_makes_the_amounts_exact(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "a", config(tmp_path))
    done(run, "M2/prompts", prompts=90)
    done(run, "M2/candidates", prompts=90, completions=360, distinct=300)
    done(run, "M2/pairs", pairs=70)
    plan = make_plan(run, until="M2")
    assert str(stage(plan, "M2/judgments").work) == "300"
    assert str(stage(plan, "M2/train").work) == "9"
    assert stage(plan, "M2/candidates").remaining == 0


def test_a_partial_stage_counts_what_is_there(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "a", config(tmp_path))
    run.stage("M2/candidates", {}, {})
    (run.path / "M2/completions.jsonl").write_text("{}\n" * 150, encoding="utf-8")
    planned = stage(make_plan(run, until="M2"), "M2/candidates")
    assert (planned.status, planned.done, planned.remaining) == ("partial", 150, 250)


def test_times_follow_the_last_undisturbed_stage_of_the_kind(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "a", config(tmp_path, "with_baseline=true", "base=some/model"))
    done(run, "M2/candidates", seconds=40, completions=400, distinct=400)
    plan = make_plan(run, until="M3")
    assert stage(plan, "M3/candidates").seconds == pytest.approx(40)
    assert plan.seconds is None
    assert "M3/candidates" not in plan.without_estimate
    assert {"SFT/train", "M1/train", "M2/prompts", "M2/train"} <= set(plan.without_estimate)
    done(run, "SFT/train", seconds=12, steps=6)
    assert stage(make_plan(run, until="M1"), "M1/train").seconds == pytest.approx(2 * 10)
    done(run, "M1/train", seconds=40, steps=10)  # longer examples: now it tells of itself, and the baseline of itself
    anew = make_plan(run, until="M1", from_stage="M1/ift")
    assert [stage(anew, f"{m}/train").seconds for m in ("SFT", "M1")] == [pytest.approx(12), pytest.approx(40)]


def test_a_resumed_stage_tells_no_rate(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "a", config(tmp_path, "base=some/model"))
    run.stage("M2/candidates", {}, {})
    done(run, "M2/candidates", seconds=1, completions=400)
    assert stage(make_plan(run, until="M3"), "M3/candidates").seconds is None


@pytest.mark.slow
def test_runs_beside_it_and_the_embedded_base_tell_rates(tmp_path: Path) -> None:
    first = RunDir.create(tmp_path / "a", config(tmp_path))
    done(first, "M2/candidates", seconds=40, completions=400, distinct=400)
    fresh = RunDir.create(tmp_path / "b", config(tmp_path))
    planned = stage(make_plan(fresh, until="M2"), "M2/candidates")
    assert (planned.seconds, planned.source) == (pytest.approx(40), str(tmp_path / "a"))
    damaged = RunDir.create(tmp_path / "damaged", config(tmp_path))
    done(damaged, "M2/candidates", seconds=9, completions=400, distinct=400)
    (damaged.path / "M2/candidates.stage.json").write_text("{")
    assert stage(make_plan(fresh, until="M2"), "M2/candidates") == planned
    other = RunDir.create(tmp_path / "c", config(tmp_path, "threads=2"))
    assert "embedded base" in stage(make_plan(other, until="M2"), "M2/candidates").source
    embedded = RunDir.create(tmp_path / "elsewhere" / "d", recipes.load("micro"))
    plan = make_plan(embedded, until="M3")
    assert plan.seconds is not None
    assert 60 < plan.seconds < 1800
    assert "embedded base" in plan.sources[0]
    plain = make_plan(RunDir.create(tmp_path / "elsewhere" / "e", recipes.load("micro-plain")), until="M3")
    assert plain.seconds is not None
    assert plan.seconds > plain.seconds + 10  # a rehearsal is trained, too


#: seconds of each stage of a run of the micro recipe on one thread of the machine in perf/RESULTS.md (seed 1)
MEASURED = {
    "SFT/train": 10.2,
    "M1/train": 137.9,
    "M2/prompts": 5.1,
    "M2/candidates": 11.4,
    "M2/judgments": 41.4,
    "M2/train": 11.4,
    "M3/prompts": 4.7,
    "M3/candidates": 10.4,
    "M3/judgments": 43.9,
    "M3/train": 12.6,
}


@pytest.mark.slow
def test_the_first_run_of_the_micro_recipe_takes_about_what_is_said_before_it(tmp_path: Path) -> None:
    plan = make_plan(RunDir(tmp_path / "run", recipes.load("micro-plain", ["with_baseline=true"])), until="M3")
    said = {s.name: s.seconds or 0.0 for s in plan.stages}
    for name, seconds in MEASURED.items():
        assert 1 / 1.5 < said[name] / seconds < 1.5, name
    other = make_plan(RunDir(tmp_path / "run", recipes.load("micro-plain", ["judge.mode=expected"])), until="M3")
    assert "M2/judgments" in other.without_estimate  # was not measured


def test_from_stage_counts_as_not_there_but_still_tells_the_rate(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "a", config(tmp_path))
    done(run, "M2/prompts", prompts=50)
    done(run, "M2/candidates", seconds=20, completions=200, distinct=200)
    planned = stage(make_plan(run, until="M2", from_stage="M2/candidates"), "M2/candidates")
    assert (planned.status, planned.work.number, planned.done) == ("new", 200, 0)
    assert planned.seconds == pytest.approx(20)


def test_totals(tmp_path: Path) -> None:
    plan = make_plan(RunDir(tmp_path / "a", config(tmp_path)), until="M3")
    assert str(plan.total("generations")) == "800"
    assert str(plan.total("steps")) == "at most 36"


def test_the_next_model(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "a", config(tmp_path, "with_baseline=true"))
    assert next_model(run) == "M1"
    for model in ("SFT", "M1", "M2", "M3"):
        (run.path / model).mkdir()
        (run.path / model / "iteration.json").write_text("{}", encoding="utf-8")
    assert next_model(run) is None
    assert make_plan(run).until is None
    assert next_model(run, stages_from(run.config, "M2/pairs")) == "M2"


def test_unknown_names(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "a", config(tmp_path))
    with pytest.raises(UnknownNameError, match="M4"):
        make_plan(run, until="M4")
    with pytest.raises(UnknownNameError, match="Did you mean 'M2/pairs'"):
        make_plan(run, from_stage="M2/pair")
