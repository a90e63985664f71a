"""The whole loop on the embedded base in small: what it makes, that it checks itself, that it refuses and skips."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfreward_bench import recipes
from selfreward_bench.errors import (
    ConfigError,
    DataError,
    IncompatibleRunError,
    LoopViolation,
    SrbenchError,
    TrainingError,
)
from selfreward_bench.micro import base_path, data_path
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.storage.origin import read_fork
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Completion, Example, Judgment, PreferencePair, RankedPrompt, Reward
from trainers import checks, workshop
from trainers.forking import fork
from trainers.iteration import Iteration, first_change, run_iteration
from trainers.plan import next_model
from trainers.workshop import checkpoint_of

pytestmark = pytest.mark.slow

SMALL = [
    "seeds.ift_size=120",
    "seeds.eft_size=160",
    "sft.epochs=1",
    "prompts.count=24",
    "candidates.count=3",
    "pairs.min_gap=0.01",
    "dpo.batch_size=8",
    "iterations=1",
]


def make(path: Path, *settings: str) -> RunDir:
    return RunDir.create(path, recipes.load("micro-plain", [*SMALL, *settings]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = make(tmp_path_factory.mktemp("runs") / "whole")
    run_iteration(run, until="M2")
    return run


def go(run: RunDir, **options: Any) -> list[Iteration]:
    """Without a preflight, which ``finished`` had."""
    return run_iteration(run, preflight=False, **options)


@pytest.fixture
def copy(finished: RunDir, tmp_path: Path) -> RunDir:
    shutil.copytree(finished.path, tmp_path / "copy")
    return RunDir.open(tmp_path / "copy")


def files(run: RunDir) -> dict[str, bytes]:
    return {str(p.relative_to(run.path)): p.read_bytes() for p in run.path.rglob("*") if p.is_file()}


def test_every_model_has_weights_of_its_own_and_names_its_parent(finished: RunDir) -> None:
    prints = {m: weights_fingerprint(checkpoint_of(finished, m)) for m in ("M0", "SFT", "M1", "M2")}
    assert len(set(prints.values())) == 4
    for model, parent in {"SFT": "M0", "M1": "M0", "M2": "M1"}.items():
        facts = json.loads((finished.path / model / "iteration.json").read_text())
        assert facts["parent"] == parent
        assert facts["parent_fingerprint"] == prints[parent]
        assert facts["fingerprint"] == prints[model]
    assert next_model(finished) is None


def test_pairs_are_two_answers_of_the_parent(finished: RunDir) -> None:
    answers = {c.id: c.text for c in jsonl.read(finished.path / "M2/completions.jsonl", Completion)}
    pairs = jsonl.read(finished.path / "M2/pairs.jsonl", PreferencePair)
    assert pairs
    for pair in pairs:
        assert pair.chosen[-1].content == answers[f"{pair.prompt_id}/{pair.chosen_index}"]
        assert pair.chosen_score > pair.rejected_score
    made_from = finished.finished_stage("M2/candidates")
    assert made_from is not None
    assert made_from.inputs["model"] == weights_fingerprint(checkpoint_of(finished, "M1"))


def test_a_finished_run_is_not_made_again(copy: RunDir) -> None:
    before = files(copy)
    assert go(copy, until="M2") == []
    assert {k: v for k, v in files(copy).items() if k != ".lock"} == {k: v for k, v in before.items() if k != ".lock"}


def test_a_changed_setting_is_refused_with_its_name_and_the_way_out(copy: RunDir) -> None:
    file = copy.path / "srbench.yaml"
    file.write_text(file.read_text().replace("nll_weight: 0.", "nll_weight: 0.7"))
    with pytest.raises(IncompatibleRunError, match=r"(?s)nll_weight.*--from-stage M2/train"):
        go(RunDir.open(copy.path), until="M2")


def test_another_evaluation_leaves_every_stage_as_it_is(copy: RunDir) -> None:
    copy.change_settings(recipes.change(copy.config, ["eval.limit=3", "eval.samples=5"]))
    before = files(copy)
    assert go(RunDir.open(copy.path), until="M2") == []
    assert files(copy) == before


def test_from_stage_makes_that_stage_and_the_later_ones_anew(copy: RunDir) -> None:
    kept = (copy.path / "M2/candidates.stage.json").read_bytes()
    old = (copy.path / "M2/checkpoint/model.safetensors").read_bytes()
    made = go(copy, until="M2", from_stage="M2/train")
    assert [i.model for i in made] == ["M2"]
    assert (copy.path / "M2/candidates.stage.json").read_bytes() == kept
    assert (copy.path / "M2/checkpoint/model.safetensors").read_bytes() == old  # the same seed, the same weights


def test_vllm_servers_generate_and_judge(
    copy: RunDir, finished: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over servers that sample as the own engine does, a round comes to the same; one serves candidates and judge.

    Other batches round otherwise, so a draw at the border of two tokens may fall to the other one.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    program = Path(__file__).parents[1] / "vllm_server.py"
    starts = tmp_path / "starts"
    starter = tmp_path / "start.sh"
    starter.write_text(f'echo start >> {starts}\nexec {sys.executable} {program} "$@"\n')
    monkeypatch.setenv("SRBENCH_VLLM", f"sh {starter}")
    engine = copy.config.engine.model_copy(update={"kind": "vllm"})
    file = copy.path / "srbench.yaml"
    settings = yaml.safe_load(file.read_text())
    settings["config"]["engine"] = engine.model_dump(mode="json")
    file.write_text(yaml.safe_dump(settings))
    go(RunDir.open(copy.path), until="M2", from_stage="M2/candidates")
    done, made = (
        {(c.prompt_id, c.index): c.text for c in jsonl.read(run.path / "M2/completions.jsonl", Completion)}
        for run in (copy, finished)
    )
    assert done.keys() == made.keys()
    same = {key for key in done if done[key] == made[key]}
    assert len(same) > 0.95 * len(made)
    ours, theirs = (
        {
            (j.prompt_id, j.index): j.score
            for j in jsonl.read(run.path / "M2/judgments.jsonl", Judgment)
            if j.reason is None and (j.prompt_id, j.index) in same
        }
        for run in (copy, finished)
    )
    assert ours
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert starts.read_text() == "start\n"
    assert list((tmp_path / "state" / "srbench" / "servers").iterdir()) == []


def test_candidates_of_other_weights_are_refused(copy: RunDir) -> None:
    marker = copy.path / "M2/candidates.stage.json"
    honest = weights_fingerprint(checkpoint_of(copy, "M1"))
    for file in (marker, copy.path / "M2/candidates.start.json"):
        file.write_text(file.read_text().replace(honest, "0" * len(honest)))
    with pytest.raises((LoopViolation, IncompatibleRunError), match="M2/candidates"):
        go(copy, until="M2", from_stage="M2/train")


def test_a_pair_that_is_no_answer_of_the_parent_is_refused(copy: RunDir) -> None:
    pairs = jsonl.read(copy.path / "M2/pairs.jsonl", PreferencePair)
    completions = jsonl.read(copy.path / "M2/completions.jsonl", Completion)
    swapped = pairs[0].model_copy(update={"chosen_index": pairs[0].rejected_index})
    with pytest.raises(LoopViolation, match="M2/pairs"):
        checks.check_pairs(copy.path / "M2/pairs.jsonl", "M2", [swapped], completions)


def test_a_model_that_equals_its_parent_is_refused(copy: RunDir) -> None:
    exchange(copy, "M2", "M1")
    marker, made = copy.path / "M2/train.stage.json", copy.finished_stage("M1/train")
    assert made is not None
    told = json.loads(marker.read_text())
    marker.write_text(json.dumps(told | {"outputs": made.outputs}))
    (copy.path / "M2/iteration.json").unlink()
    with pytest.raises(LoopViolation, match="training changed nothing"):
        go(copy, until="M2")


def exchange(run: RunDir, model: str, other: str) -> None:
    """Puts another model's checkpoint in the place of a model's."""
    shutil.rmtree(run.path / model / "checkpoint")
    shutil.copytree(run.path / other / "checkpoint", run.path / model / "checkpoint")


def test_nothing_is_made_from_weights_that_no_stage_left(copy: RunDir) -> None:
    exchange(copy, "M1", "SFT")
    before = files(copy)
    for stage in (None, "M2/prompts"):
        with pytest.raises(IncompatibleRunError, match=r"M1/checkpoint has other weights.*--from-stage M1/train"):
            go(copy, until="M2", from_stage=stage)
        assert files(copy) == before


def test_nothing_is_made_from_files_that_no_stage_left(copy: RunDir) -> None:
    template = copy.path / "M1/checkpoint/chat_template.jinja"
    template.write_text("{{ 'Be brief.' }}" + template.read_text())
    with pytest.raises(IncompatibleRunError, match="M1/checkpoint has another configuration, tokenizer or chat templ"):
        go(copy, until="M2", from_stage="M2/prompts")


def test_nothing_goes_on_from_a_base_that_renders_otherwise(copy: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    real = workshop.files_fingerprint
    monkeypatch.setattr(workshop, "files_fingerprint", lambda d: "edited" if d == base_path() else real(d))
    with pytest.raises(IncompatibleRunError, match=r"(?s)chat template than when SFT was.*--from-stage SFT/train"):
        go(copy, until="M2")


def test_no_usable_pair_stops_with_the_counts(copy: RunDir) -> None:
    config = recipes.load("micro-plain", [*SMALL, "pairs.min_gap=5"])
    (copy.path / "srbench.yaml").unlink()
    shutil.move(copy.path, copy.path.with_name("other"))
    run = RunDir.create(copy.path, config)
    for model in ("SFT", "M1", "M2"):
        shutil.copytree(copy.path.with_name("other") / model, copy.path / model)
    with pytest.raises(TrainingError, match="below_gap"):
        go(run, until="M2", from_stage="M2/pairs")
    assert (copy.path / "M2/completions.jsonl").exists()


def test_the_oracle_control_needs_an_oracle_from_outside(tmp_path: Path, finished: RunDir) -> None:
    run = make(tmp_path / "control", "rewards=oracle")
    for model in ("SFT", "M1"):
        shutil.copytree(finished.path / model, run.path / model)
    with pytest.raises(ConfigError, match="oracle"):
        go(run, until="M2")
    go(run, until="M2", oracle=lambda prompt, text: float(len(text) % 6))
    assert json.loads((run.path / "M2/iteration.json").read_text())["rewards"] == "oracle"


def test_responses_without_a_review_are_judged_by_the_sft_baseline(tmp_path: Path) -> None:
    ranked = jsonl.read(data_path("eft"), RankedPrompt)[:40]
    bare = [
        r.model_copy(update={"responses": tuple(x.model_copy(update={"review": None}) for x in r.responses)})
        for r in ranked[:6]
    ]
    jsonl.write(tmp_path / "eft.jsonl", [*bare, *ranked[6:]])
    settings = [f"seeds.eft={tmp_path / 'eft.jsonl'}", "with_baseline=false", "judge.mode=sampled"]
    run = make(tmp_path / "run", *settings, "judge.sampling.max_new_tokens=16")
    made = go(run, until="M1")
    assert [i.model for i in made] == ["M1"]
    assert weights_fingerprint(run.path / "SFT/checkpoint") != weights_fingerprint(checkpoint_of(run, "M1"))
    reviews = jsonl.read(run.path / "M1/reviews.jsonl", Judgment)
    judged = {(j.prompt_id, j.index) for j in reviews}
    assert judged == {(r.id, i) for r in bare for i in range(len(r.responses))}
    counts = made[0].counts["M1/eft"]
    assert counts["responses"] == sum(len(r.responses) for r in ranked)
    assert counts["examples"] >= 60


# --- what stays is looked at before anything is deleted


def test_from_stage_deletes_nothing_where_what_stays_does_not_fit(copy: RunDir) -> None:
    file = copy.path / "srbench.yaml"
    file.write_text(file.read_text().replace("eft_flatten: 2.0", "eft_flatten: 3.0"))
    before = files(copy)
    with pytest.raises(IncompatibleRunError, match=r"(?s)M1/eft.*flatten.*--from-stage M1/eft"):
        go(RunDir.open(copy.path), until="M2", from_stage="M2/pairs")
    assert files(copy) == before


@pytest.mark.parametrize(
    ("stage", "until", "changes", "message"),
    [
        ("M2/judgments", "M2", ["judge.model=openai:m@http://127.0.0.1:9/v1#NO_SUCH_KEY"], "NO_SUCH_KEY"),
        ("M2/judgments", "M2", ["rewards=oracle"], "oracle needs somebody"),
        ("M2/prompts", "M2", ["prompts.writer=gone.jsonl"], "gone.jsonl"),
        ("M1/ift", "M2", ["seeds.ift={torn}"], r"torn\.jsonl:2: field 'completion' is missing"),
        ("M1/ift", "M2", ["base={torn}"], "torn.jsonl"),
        ("M2/pairs", "M1", [], "M1 stands before it"),
    ],
)
def test_from_stage_deletes_nothing_where_what_follows_cannot_be_made(
    copy: RunDir, tmp_path: Path, stage: str, until: str, changes: list[str], message: str
) -> None:
    torn = tmp_path / "torn.jsonl"
    torn.write_text('{"id": "a", "prompt": "Q?", "completion": "A."}\n{"id": "b", "prompt": "Q?"}\n')
    config = recipes.change(copy.config, ["judge.mode=sampled", *(text.format(torn=torn) for text in changes)])
    before = files(copy)
    with pytest.raises(SrbenchError, match=message):
        go(RunDir(copy.path, config), until=until, from_stage=stage)
    assert files(copy) == before


def test_seed_data_that_were_moved_are_the_same_and_others_are_not(copy: RunDir, tmp_path: Path) -> None:
    before = files(copy)
    gone = recipes.change(copy.config, [f"seeds.ift={tmp_path / 'gone.jsonl'}"])
    with pytest.raises(DataError, match=r"seeds\.ift: .*gone\.jsonl is not there\. .* into .*srbench\.yaml"):
        go(RunDir(copy.path, gone), until="M2", from_stage="M2/pairs")
    content = data_path("ift").read_text("utf-8")
    (tmp_path / "moved.jsonl").write_text(content, "utf-8")
    moved = recipes.change(copy.config, [f"seeds.ift={tmp_path / 'moved.jsonl'}"])
    assert go(RunDir(copy.path, moved), until="M2") == []
    kept = jsonl.read(copy.path / "M1/ift.jsonl", Example)[0]
    (tmp_path / "moved.jsonl").write_text(content.replace(kept.completion[0].content, "Another."), "utf-8")
    with pytest.raises(IncompatibleRunError, match=r"settings\.ift: "):
        go(RunDir(copy.path, moved), until="M2", from_stage="M2/pairs")
    assert files(copy) == before


def test_a_judge_setting_undoes_no_model_whose_reviews_came_with_the_data(copy: RunDir) -> None:
    kept = (copy.path / "M1/checkpoint/model.safetensors").read_bytes()
    config = recipes.change(copy.config, ["judge.mode=expected"])
    assert first_change(RunDir(copy.path, config)) == "M2/judgments"
    assert (copy.path / "M1/checkpoint/model.safetensors").read_bytes() == kept


# --- forks


def test_a_fork_keeps_what_its_settings_do_not_touch(copy: RunDir, tmp_path: Path) -> None:
    before = files(copy)
    made = fork(copy, tmp_path / "new", recipes.change(copy.config, ["pairs.min_gap=0.3"]), {}, None)
    assert files(copy) == before
    assert (made.at, made.kept[-1], made.parent) == ("M2/pairs", "M2/judgments", "copy")
    new = RunDir.open(tmp_path / "new")
    assert (new.path / "M1/iteration.json").read_bytes() == (copy.path / "M1/iteration.json").read_bytes()
    assert not (new.path / "M2/pairs.jsonl").exists()
    assert [i.model for i in go(new, until="M2")] == ["M2"]
    assert json.loads((new.path / "M2/pairs.stage.json").read_text())["identity"]["settings"]["min_gap"] == 0.3
    assert files(copy) == before
    assert read_fork(new.path) == made


def test_a_fork_shares_no_file_that_grows_and_keeps_the_examination(copy: RunDir, tmp_path: Path) -> None:
    """An evaluation that goes on in one of them appends to its own answers."""
    answers = copy.path / "M1/eval/mine@1/answers.jsonl"
    answers.parent.mkdir(parents=True, exist_ok=True)
    answers.write_bytes(b"x" * 2**21)
    (copy.path / "check.json").write_text("{}")
    fork(copy, tmp_path / "new", copy.config, {}, "M2/train")
    assert (tmp_path / "new/check.json").read_text() == "{}"
    taken = tmp_path / "new" / answers.relative_to(copy.path)
    with taken.open("ab") as stream:
        stream.write(b"more")
    assert answers.stat().st_size == 2**21


def test_a_fork_keeps_nothing_that_was_changed_since_it_was_made(copy: RunDir, tmp_path: Path) -> None:
    config = recipes.change(copy.config, ["dpo.beta=0.3"])
    assert fork(copy, tmp_path / "sound", config, {}, None).at == "M2/train"
    weights = copy.path / "M1/checkpoint/model.safetensors"
    content = weights.read_bytes()
    weights.unlink()  # a fork has the same file
    weights.write_bytes(content[:-4] + b"abcd")
    for at in (None, "M2/train"):
        with pytest.raises(IncompatibleRunError, match="other weights than M1/train left there"):
            fork(copy, tmp_path / "new", config, {}, at)
    assert not (tmp_path / "new").exists()
    assert fork(copy, tmp_path / "earlier", config, {}, "M1/train").kept[-1] == "M1/eft"
    with pytest.raises(ConfigError, match="inside the run"):
        fork(copy, copy.path / "new", config, {}, "M1/train")


def test_a_fork_keeps_a_model_whose_record_alone_is_missing(copy: RunDir, tmp_path: Path) -> None:
    """Killed between the training and its checks."""
    (copy.path / "M1/iteration.json").unlink()
    made = fork(copy, tmp_path / "new", recipes.change(copy.config, ["dpo.beta=0.3"]), {}, None)
    assert (made.at, made.kept[-1]) == ("M2/prompts", "M1/train")


def test_a_rehearsal_is_a_stage_of_its_own_and_says_whose_work_it_is(
    copy: RunDir, finished: RunDir, tmp_path: Path
) -> None:
    """What the round made before it is kept; without one nothing is recorded of it."""
    rehearsed = ["rehearsal.what=[own, eft]", "rehearsal.size=6"]
    made = fork(copy, tmp_path / "new", recipes.change(copy.config, rehearsed), {}, None)
    assert (made.at, made.kept[-1]) == ("M2/rehearsal", "M2/pairs")
    run = RunDir.open(tmp_path / "new")
    (iteration,) = go(run, until="M2")
    stage, trained = run.finished_stage("M2/rehearsal"), run.finished_stage("M2/train")
    assert stage is not None
    assert trained is not None
    assert trained.inputs["rehearsal"] == stage.outputs["rehearsal.jsonl"]
    examples = jsonl.read(run.path / "M2/rehearsal.jsonl", Example)
    kinds = Counter(e.source for e in examples)
    judged = [json.loads(j.raw)["justification"] for j in jsonl.read(run.path / "M2/judgments.jsonl", Judgment)]
    assert any(text.startswith(" ") for text in judged)  # the template writes that space
    assert not any(e.completion[-1].content.startswith(" ") for e in examples)
    assert (kinds["own"], kinds["eft"]) == (stage.counts["own"], stage.counts["eft"])
    told = {"what": ["own", "eft"], "weight": 1.0, "size": 6, "alone": False}
    told |= {"from_the_model": kinds["own"], "from_people": kinds["eft"]}
    assert iteration.rehearsal == told
    assert json.loads((run.path / "M2/iteration.json").read_text())["rehearsal"] == told
    assert trained.counts["rehearsed"] == sum(kinds.values())
    assert trained.counts["first_rehearsal_loss"] > 0
    assert go(run, until="M2") == []
    assert first_change(RunDir(run.path, recipes.change(run.config, ["rehearsal.weight=2"]))) == "M2/train"
    assert first_change(RunDir(run.path, recipes.change(run.config, ["rehearsal.size=7"]))) == "M2/rehearsal"
    before = [(finished.path / "M2" / name).read_text() for name in ("train.stage.json", "iteration.json")]
    assert not [text for text in before if "rehears" in text]


def test_a_judge_chooses_the_step_that_is_kept(copy: RunDir, tmp_path: Path) -> None:
    """Here a judge that prefers shorter answers, from outside: the oracle of this test."""
    settings = ["select.every=1", "select.judge=oracle", "select.limit=12"]
    made = fork(copy, tmp_path / "new", recipes.change(copy.config, settings), {}, None)
    assert made.at == "M2/train"
    run = RunDir.open(tmp_path / "new")
    with pytest.raises(ConfigError, match=r"select\.judge: oracle needs"):
        go(run, until="M2")
    (iteration,) = go(run, until="M2", oracle=lambda prompt, text: -float(len(text)))
    told = json.loads((run.path / "M2/selection.json").read_text())
    assert iteration.selection == told
    assert told["judge"] == "oracle (micro-world, validation split)"
    contests = told["contests"]
    assert all(c["won"] + c["tied"] + c["lost"] + c["unread"] == 12 for c in contests)
    assert told["chosen"] == [contests[0]["step"], *(c["step"] for c in contests if c["won"] > c["lost"])][-1]
    trained = run.finished_stage("M2/train")
    assert trained is not None
    assert trained.counts["kept_step"] == told["chosen"]
    assert trained.outputs["checkpoint"] == weights_fingerprint(checkpoint_of(run, "M2"))
    assert go(run, until="M2") == []


def test_without_preferences_a_round_is_sft_on_the_seed_data_and_perfect_answers(copy: RunDir, tmp_path: Path) -> None:
    made = fork(copy, tmp_path / "new", recipes.change(copy.config, ["learn=positives"]), {}, None)
    assert made.kept[-1] == "M2/pairs"
    run = RunDir.open(tmp_path / "new")
    scored = jsonl.read(run.path / "M2/rewards.jsonl", Reward)
    best = max(scored, key=lambda r: r.score or 0)  # in so small a run nothing may be perfect
    jsonl.write(
        run.path / "M2/rewards.jsonl", [r.model_copy(update={"score": 5.0}) if r == best else r for r in scored]
    )
    (iteration,) = go(run, until="M2")
    added = [e.id for e in jsonl.read(run.path / "M2/positives.jsonl", Example)]
    assert best.id in added
    trained = run.finished_stage("M2/train")
    seed = [run.finished_stage(f"M1/{name}") for name in ("ift", "eft")]
    assert trained is not None
    assert trained.counts["records"] == len(added) + sum(s.counts["examples"] for s in seed if s)
    assert (iteration.parent, iteration.rewards) == ("M0", "self")
    assert iteration.parent_fingerprint == weights_fingerprint(checkpoint_of(run, "M0"))
    assert "first_dpo_loss_is_ln2" not in iteration.checks
    assert go(run, until="M2") == []


def test_m1_without_eft_is_the_baseline_by_another_name(copy: RunDir, tmp_path: Path) -> None:
    fork(copy, tmp_path / "new", recipes.change(copy.config, ["sft.eft_repeat=0"]), {}, None)
    run = RunDir.open(tmp_path / "new")
    *_, iteration = go(run, until="M1")
    assert iteration.counts["M1/train"]["records"] == iteration.counts["M1/ift"]["examples"]
    assert weights_fingerprint(checkpoint_of(run, "M1")) == weights_fingerprint(checkpoint_of(run, "SFT"))


def test_a_fork_with_the_settings_of_its_parent_becomes_its_parent(copy: RunDir, tmp_path: Path) -> None:
    fork(copy, tmp_path / "new", copy.config, {}, "M2/train")
    new = RunDir.open(tmp_path / "new")
    go(new, until="M2")
    weights = "M2/checkpoint/model.safetensors"
    assert (new.path / weights).read_bytes() == (copy.path / weights).read_bytes()


@pytest.mark.parametrize(
    ("changes", "at", "told"),
    [
        (["sft.learning_rate=0.0007"], "M2/pairs", r"(?s)before M2/pairs.*M1|SFT.*learning_rate"),
        (["seed=9"], None, "Nothing of .* would be kept"),
        (["eval.limit=3"], None, "touch no stage"),
    ],
)
def test_a_fork_that_cannot_be_is_refused(
    copy: RunDir, tmp_path: Path, changes: list[str], at: str | None, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        fork(copy, tmp_path / "new", recipes.change(copy.config, changes), {}, at)
    assert not (tmp_path / "new").exists()


def test_a_model_trained_with_lora_says_so_and_is_whole(tmp_path: Path) -> None:
    run = make(tmp_path / "lora", "lora.r=4", "sft.learning_rate=2e-3", "sft.epochs=0.5")
    made = go(run, until="M1")[-1]
    facts = json.loads((run.path / "M1" / "iteration.json").read_text())
    assert facts["lora"] == made.lora
    assert (facts["lora"]["r"], facts["lora"]["targets"]) == (4, "all-linear")
    assert facts["lora"]["merge_logit_change"] < 1e-3
    assert not list(run.path.rglob("adapter*"))
    assert "| lora.r | 4 |" in (checkpoint_of(run, "M1") / "README.md").read_text()
    run.config = recipes.change(run.config, ["lora.r=8"])
    with pytest.raises(IncompatibleRunError, match=r"lora\.r"):
        go(run, until="M1")
