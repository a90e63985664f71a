"""Other methods through the loop in small: whose answers their pairs are, what rewards them, and resuming them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import LoopViolation, TrainingError
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Completion, Example, Judgment, Message, PreferencePair, Prompt, Reward
from trainers import checks, likelihood
from trainers.answer_sources import read, source_of
from trainers.iteration import _Loop, run_iteration
from trainers.verifying import is_right

SMALL = [
    "seeds.ift_size=120",
    "seeds.eft_size=240",
    "with_baseline=false",
    "sft.epochs=1",
    "prompts.count=12",
    "candidates.count=3",
    "judge.mode=sampled",
    "judge.samples=4",
    "pairs.min_gap=0.01",
    "dpo.batch_size=8",
    "iterations=2",
]


def make(path: Path, *settings: str) -> RunDir:
    return RunDir.create(path, recipes.load("micro-plain", [*SMALL, *settings]))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """M1 and M2 as the paper makes them; every method goes on from what it has in common with them."""
    run = make(tmp_path_factory.mktemp("runs") / "plain")
    run_iteration(run, until="M2", preflight=False)
    return run


@pytest.fixture
def after(plain: RunDir, tmp_path: Path) -> Callable[..., RunDir]:
    """A run with other settings that has some of the plain one's models already."""

    def begin(*settings: str, models: tuple[str, ...] = ("M1",)) -> RunDir:
        run = make(tmp_path / "run", *settings)
        for model in models:
            shutil.copytree(plain.path / model, run.path / model)
        return run

    return begin


def facts(run: RunDir, model: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.path / model / "iteration.json").read_text())
    return found


def pairs_of(run: RunDir, model: str) -> list[PreferencePair]:
    return jsonl.read(run.path / model / "pairs.jsonl", PreferencePair)


def sides(pairs: list[PreferencePair]) -> set[tuple[str, str]]:
    return {(source_of(p.chosen_index), source_of(p.rejected_index)) for p in pairs}


def go(run: RunDir, until: str) -> None:
    run_iteration(run, until=until, preflight=False)


# --- SPIN, Iterative RPO


@pytest.mark.slow
def test_spin_prefers_what_people_wrote(after: Callable[..., RunDir]) -> None:
    run = after("rewards=human", "prompts.writer=seeds", "pairs.chosen_from=human", "pairs.strategy=best-random")
    go(run, "M2")
    wrote = {e.id: e.completion[-1].content for e in jsonl.read(run.path / "M1/ift.jsonl", Example)}
    pairs = pairs_of(run, "M2")
    assert sides(pairs) == {("human", "own")}
    assert {p.chosen[-1].content for p in pairs} <= set(wrote.values())
    assert not jsonl.read(run.path / "M2/judgments.jsonl", Judgment, allow_empty=True)
    told = facts(run, "M2")
    assert (told["rewards"], told["preferences"]["chosen_from"]) == ("human", "human")
    assert "pairs_come_from_whom_they_name" in told["checks"]
    swapped = pairs[0].model_copy(update={"chosen_index": pairs[0].rejected_index})
    with pytest.raises(LoopViolation, match="M2/pairs"):
        checks.check_pairs(run.path, "M2", [swapped], read(run.path / "M2", ("own", "human")))


@pytest.mark.slow
def test_iterative_rpo_prefers_what_comes_to_the_given_answer(
    after: Callable[..., RunDir], plain: RunDir, tmp_path: Path
) -> None:
    """First nothing is right; then, of the same answers, what is like the first of each prompt."""
    file, prompts = tmp_path / "asked.jsonl", jsonl.read(plain.path / "M2/prompts.jsonl", Prompt)

    def give(answers: dict[str, str]) -> None:
        given = {p.id: (Message(role="assistant", content=answers.get(p.id, "nobody says this")),) for p in prompts}
        jsonl.write(file, [Example(id=p.id, prompt=p.messages, completion=given[p.id]) for p in prompts])

    settings = ["rewards=verifiable", f"prompts.writer={file}", "pairs.strategy=all-above-gap", "candidates.count=4"]
    give({})
    run = after(*settings)
    with pytest.raises(TrainingError, match="no prompt gave a usable preference pair"):
        go(run, "M2")
    told = {p.id: p.source.rpartition("#")[2] for p in jsonl.read(run.path / "M2/prompts.jsonl", Prompt)}
    usable = [
        c for c in jsonl.read(run.path / "M2/completions.jsonl", Completion) if c.finish_reason == "stop" and c.text
    ]
    first = {told[c.prompt_id]: c.text for c in reversed(usable)}
    give(first)
    shutil.rmtree(run.path)
    run = after(*settings)
    go(run, "M2")
    pairs = pairs_of(run, "M2")
    assert sides(pairs) == {("own", "own")}
    assert {p.chosen[-1].content for p in pairs} <= set(first.values())
    for pair in pairs:
        assert is_right(pair.chosen[-1].content, first[told[pair.prompt_id]])
        assert not is_right(pair.rejected[-1].content, first[told[pair.prompt_id]])
    assert len(pairs) > len({p.prompt_id for p in pairs})  # several of a prompt
    assert facts(run, "M2")["rewards"] == "verifiable"


# --- DICE


@pytest.mark.slow
def test_dice_takes_the_parents_own_log_ratio_and_resumes(
    after: Callable[..., RunDir], plain: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = after("rewards=implicit", models=("M1", "M2"))
    computed = likelihood._logps
    left = [1]

    def interrupted(*arguments: Any) -> list[float]:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return computed(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(likelihood, "_logps", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go(run, "M3")
    begun = (run.path / "M3/likelihood.model.jsonl").read_bytes()
    assert begun
    go(run, "M3")
    assert (run.path / "M3/likelihood.model.jsonl").read_bytes().startswith(begun)
    assert facts(run, "M2") == facts(plain, "M2")
    assert facts(run, "M3")["rewards"] == "implicit"
    judgments = jsonl.read(run.path / "M3/judgments.jsonl", Judgment)
    assert {j.judge.partition("/")[0] for j in judgments} == {"implicit"}
    model, reference = (
        {r.id: r.logp for r in jsonl.read(run.path / "M3" / f"likelihood.{name}.jsonl", likelihood.Likelihood)}
        for name in ("model", "reference")
    )
    for judgment in judgments:
        name = f"{judgment.prompt_id}/{judgment.index}"
        assert judgment.score == pytest.approx(0.1 * ((model[name] or 0) - (reference[name] or 0)))
    scores = {j.prompt_id: j.score for j in judgments}
    assert len(set(scores.values())) > 1
    tokens = {f"{j.prompt_id}/{j.index}": json.loads(j.raw)["tokens"] for j in judgments}
    lengths = [
        (tokens.get(f"{p.prompt_id}/{p.chosen_index}", 0), tokens.get(f"{p.prompt_id}/{p.rejected_index}", 0))
        for p in pairs_of(run, "M3")
    ]
    raw = [p for p in jsonl.read(run.path / "M3/rewards.jsonl", Reward) if p.score is not None]
    assert raw
    assert sum(a - b for a, b in lengths) <= max(b for _, b in lengths)  # no longer in the mean, but for the last one


@pytest.mark.slow
def test_likelihoods_are_those_of_the_reference_of_dpo(plain: RunDir) -> None:
    """What DICE divides is what DPO's loss has: the reference of M2 knows the same answers."""
    from selfreward_bench.judges.pointwise import JudgeItem

    pairs = pairs_of(plain, "M2")
    items = [JudgeItem(p.prompt_id, p.chosen_index, p.prompt, p.chosen[-1].content) for p in pairs]
    path = plain.path / "likelihood.jsonl"
    found = likelihood.write_likelihoods(
        plain.path / "M1/checkpoint", items, path, engine=plain.config.engine, max_length=256, advanced=lambda _: None
    )
    kept = [json.loads(line) for line in (plain.path / "M2/reference.jsonl").read_text().splitlines()]
    assert [f.logp for f in found] == pytest.approx([k["chosen_logp"] for k in kept], abs=1e-3)
    path.unlink()


# --- CREAM


@pytest.mark.slow
def test_cream_gives_reversed_pairs_what_two_judges_do_not_agree_on(
    after: Callable[..., RunDir], plain: RunDir
) -> None:
    run = after("consistency=true", models=("M1", "M2"))
    go(run, "M3")
    assert facts(run, "M2") == facts(plain, "M2")  # one judge only
    stage = run.finished_stage("M3/consistency")
    assert stage is not None
    assert stage.inputs["model"] == weights_fingerprint(run.path / "M1/checkpoint")
    agreed = stage.counts["consistency"]
    assert agreed == pytest.approx((stage.counts["tau"] + 1) / 2)
    told = facts(run, "M3")
    assert told["preferences"]["label_smoothing"] == pytest.approx(1 - agreed, abs=1e-6)
    first = json.loads((run.path / "M3/log.jsonl").read_text().splitlines()[0])
    assert first["dpo_loss"] == pytest.approx(math.log(2), abs=1e-3)
    plan = json.loads((run.path / "M3/plan.json").read_text())
    assert plan["dpo.label_smoothing"] == told["preferences"]["label_smoothing"]


# --- Temporal Self-Rewarding with Meta-Rewarding


@pytest.mark.slow
def test_temporal_pairs_are_of_the_next_model_and_of_the_first_and_judgments_are_preferred_too(
    after: Callable[..., RunDir],
) -> None:
    run = after("pairs.chosen_from=next", "pairs.rejected_from=first", "meta.by=consensus", "meta.min_gap=0.1")
    go(run, "M3")
    assert sides(pairs_of(run, "M2")) == {("next", "own")}  # M1 is the first model
    assert sides(pairs_of(run, "M3")) == {("next", "first")}
    assert sides(jsonl.read(run.path / "M3/next/pairs.jsonl", PreferencePair)) == {("own", "first")}
    prints = [weights_fingerprint(run.path / m / "checkpoint") for m in ("M1", "M2/next", "M2", "M3/next", "M3")]
    assert len(set(prints)) == 5
    made_by = {
        name: stage.inputs["model"]
        for name in ("M3/candidates", "M3/first", "M3/next/candidates")
        if (stage := run.finished_stage(name))
    }
    assert made_by == {"M3/candidates": prints[2], "M3/first": prints[0], "M3/next/candidates": prints[3]}
    judged = {(j.prompt_id, j.index, j.sample): j for j in jsonl.read(run.path / "M2/judgments.jsonl", Judgment)}
    extra = jsonl.read(run.path / "M2/judge-pairs.jsonl", PreferencePair)
    assert extra
    for pair in extra:
        prompt_id, _, index = pair.prompt_id.removeprefix("judge:").rpartition("/")
        for sample, side in ((pair.chosen_index, pair.chosen), (pair.rejected_index, pair.rejected)):
            assert judged[prompt_id, int(index), sample].raw.strip() == side[-1].content
    told = facts(run, "M2")
    records = told["counts"]["M2/train"]["records"]
    assert records == len(pairs_of(run, "M2")) + len(extra)
    assert told["preferences"]["judge_pairs"] == len(extra)
    before = {str(p): p.read_bytes() for p in run.path.rglob("*") if p.is_file() and p.name != ".lock"}
    go(run, "M3")
    assert before == {str(p): p.read_bytes() for p in run.path.rglob("*") if p.is_file() and p.name != ".lock"}
    run_iteration(run, until="M3", from_stage="M3/next/train", preflight=False)
    weights = str(run.path / "M3/checkpoint/model.safetensors")
    assert Path(weights).read_bytes() == before[weights]


@pytest.mark.slow
def test_the_meta_judge_compares_judgments_in_both_orders(
    after: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A meta-judge that likes the lower score: it decides, and not the mean."""
    run = after("meta.by=elo", models=("M1", "M2"))
    shutil.rmtree(run.path / "M2/checkpoint")
    (run.path / "M2/iteration.json").unlink()
    asked: list[str] = []

    def verdict(request: Any, k: int) -> str:
        text = request.prompt[-1].content
        asked.append(text)
        a, b = (part.rpartition("Score:")[2].split()[0] for part in text.split("Judgment B:"))
        return f"Verdict: {'A' if a < b else 'B' if b < a else 'tie'}"

    loop = _Loop(run, _silent(), None)
    monkeypatch.setattr(loop, "engine", lambda model: ScriptedEngine(verdict))
    pairs = loop.judge_pairs("M2", "M1")
    assert pairs
    stage = run.finished_stage("M2/meta")
    assert stage is not None
    assert stage.counts["comparisons"] * 2 == len(asked)
    assert stage.counts["consistent"] == stage.counts["parsed"] == stage.counts["comparisons"]
    scores = {(j.prompt_id, j.index, j.sample): j.score for j in jsonl.read(run.path / "M2/judgments.jsonl", Judgment)}
    for pair in pairs:
        prompt_id, _, index = pair.prompt_id.removeprefix("judge:").rpartition("/")
        low, high = (scores[prompt_id, int(index), n] for n in (pair.chosen_index, pair.rejected_index))
        assert low is not None
        assert high is not None
        assert low < high


def _silent() -> Any:
    from selfreward_bench.progress import Silent

    return Silent()
