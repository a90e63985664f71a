"""The loop with others in its roles: served models write, review and judge, are paid for, and cost nothing twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.errors import ConfigError, EngineError, IncompatibleRunError
from selfreward_bench.micro import data_path
from selfreward_bench.models.opening import Services
from selfreward_bench.prices import Budget, Price, PriceTable
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.responses import ResponseStore
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Completion, Judgment, Prompt, RankedPrompt
from trainers.calls import role_calls
from trainers.iteration import Iteration, first_change, run_iteration
from trainers.plan import make_plan
from trainers.roles import given
from trainers.serving import services_of
from trainers.stages import stages

from ..scripted_server import Answer, Asked, ScriptedServer, said, scripted_server
from .conftest import run_until_killed

WORDS = ("apple", "river", "candle", "engine", "violin", "garden", "winter", "paper", "coffee", "bridge", "doctor")
TINY = [
    "with_baseline=false",
    "iterations=1",
    "seeds.ift_size=24",
    "sft.epochs=1",
    "sft.learning_rate=1e-4",
    "prompts.count=6",
    "prompts.format=chat",
    "candidates.count=3",
    "candidates.sampling.max_new_tokens=32",
    "judge.mode=sampled",
    "judge.samples=1",
    "judge.sampling.max_new_tokens=24",
    "dpo.batch_size=4",
]
PRICES = PriceTable(models={name: Price(prompt=1.0, completion=10.0) for name in ("writer", "reviewer", "judge")})
CALL = (50 * 1.0 + 10 * 10.0) / 1e6  # what one costs, as the scripted server counts


def ranked(path: Path) -> dict[str, int]:
    """Writes a few ranked responses without reviews; returns response -> rank."""
    bare = [
        p.model_copy(update={"responses": tuple(r.model_copy(update={"review": None}) for r in p.responses)})
        for p in jsonl.read(data_path("eft"), RankedPrompt)[:4]
    ]
    jsonl.write(path, bare)
    return {r.text: r.rank for p in bare for r in p.responses}


def helps(ranks: dict[str, int], asked: Asked) -> Answer:
    """Writes a task, reviews as humans ranked, or judges by the answer's letters."""
    body, text = asked.body, asked.body["messages"][-1]["content"]
    if body["model"] == "writer":
        return said(f"Write {' '.join(random.Random(body['seed']).sample(WORDS, 4))}.")
    answer = text.partition("Answer: ")[2].strip()
    if body["model"] == "reviewer":
        return said(f"Form: good.\nScore: {5 - next(rank for own, rank in ranks.items() if own == answer)}")
    return said(f"Form: good.\nScore: {sum(map(ord, answer)) % 6}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScriptedServer, Path]]:
    eft = tmp_path_factory.mktemp("seeds") / "eft.jsonl"
    ranks = ranked(eft)
    with scripted_server(lambda asked: helps(ranks, asked)) as running:
        yield running, eft


def make(path: Path, server: tuple[ScriptedServer, Path], *settings: str) -> RunDir:
    running, eft = server
    roles = {"prompts.writer": "writer", "seeds.reviewer": "reviewer", "judge.model": "judge"}
    named = [f"{role}=openai:{name}@{running.url}" for role, name in roles.items()]
    return RunDir.create(path, recipes.load("micro-plain", [*TINY, f"seeds.eft={eft}", *named, *settings]))


def make_all(run: RunDir, services: Services) -> list[Iteration]:
    return run_iteration(run, until="M2", preflight=False, services=services)


@contextmanager
def services(run: RunDir, folder: Path, max_cost: float | None = None, *, replay: bool = False) -> Iterator[Services]:
    with closing(ResponseStore(folder / "store.sqlite")) as store:
        yield replace(services_of(run.config, budget=Budget(PRICES, max_cost), replay=replay), store=store)


@dataclass(frozen=True)
class Whole:
    """A finished run, the directory with its store, and what was asked for it."""

    run: RunDir
    folder: Path
    asked: tuple[Asked, ...]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, server: tuple[ScriptedServer, Path]) -> Whole:
    folder = tmp_path_factory.mktemp("served")
    run = make(folder / "run", server)
    with services(run, folder) as shared:
        make_all(run, shared)
        assert shared.budget is not None
        assert shared.budget.spent == pytest.approx(len(server[0].asked) * CALL)
    return Whole(run, folder, tuple(server[0].asked))


@pytest.fixture
def finished(whole: Whole) -> tuple[RunDir, Path]:
    return whole.run, whole.folder


def copied(finished: tuple[RunDir, Path], path: Path, stage: str) -> RunDir:
    """The finished run as it was before a stage."""
    shutil.copytree(finished[0].path, path)
    run = RunDir.open(path)
    run.reset_from(stage, [(s.name, s.paths) for s in stages(run.config)])
    return run


def made(run: RunDir) -> dict[str, bytes]:
    """What the helpers' answers came to."""
    names = ("M1/reviews.jsonl", "M1/eft.jsonl", "M2/prompts.jsonl", "M2/judgments.jsonl", "M2/pairs.jsonl")
    return {name: (run.path / name).read_bytes() for name in names} | {
        f"{model} weights": (run.path / model / "checkpoint/model.safetensors").read_bytes() for model in ("M1", "M2")
    }


@pytest.mark.slow
def test_each_role_is_filled_by_the_model_that_is_named_for_it(finished: tuple[RunDir, Path]) -> None:
    run, _ = finished
    reviews = jsonl.read(run.path / "M1/reviews.jsonl", Judgment)
    judgments = jsonl.read(run.path / "M2/judgments.jsonl", Judgment)
    assert {j.score for j in reviews} >= {4.0, 5.0}  # as people ranked
    assert len({j.score for j in judgments}) > 2
    assert all(j.raw.startswith("Form: good.") for j in [*reviews, *judgments])
    assert len({j.judge for j in [*reviews, *judgments]}) == 2
    assert all("/served-" in j.judge for j in [*reviews, *judgments])
    assert not (run.path / "SFT").exists()  # which would have written the reviews
    assert all(p.text.startswith("Write ") for p in jsonl.read(run.path / "M2/prompts.jsonl", Prompt))


def test_what_servers_said_of_themselves_is_kept_beside_their_work(
    finished: tuple[RunDir, Path], tmp_path: Path
) -> None:
    run, _ = finished
    for file, role in (
        ("M1/reviews", "seeds.reviewer"),
        ("M2/prompts", "prompts.writer"),
        ("M2/judgments", "judge.model"),
    ):
        record = json.loads((run.path / f"{file}.served.json").read_text())
        assert record == {"model": given(run.config, role), "snapshots": ["scripted-1"], "asked": []}
    again = copied(finished, tmp_path / "again", "M1/train")
    assert (again.path / "M1/reviews.served.json").exists()
    assert not list(again.path.glob("M2/*"))


@pytest.mark.slow
def test_what_was_told_before_is_what_was_asked_at_most(whole: Whole, tmp_path: Path) -> None:
    plan = make_plan(RunDir(tmp_path / "none", whole.run.config), until="M2")
    told = {calls.model: calls.calls for calls in role_calls(whole.run.config, plan)}
    bodies = [asked.body for asked in whole.asked]
    assert {body["model"] for body in bodies} == set(told) == {"writer", "reviewer", "judge"}
    for model, most in told.items():
        asked = [body for body in bodies if body["model"] == model]
        texts = [m["content"] for body in asked for m in body["messages"]]
        # text that is there already has a token per byte at most; of answers to come, tokens are told: words here
        read = sum(len(text.split()) if model == "judge" else len(text.encode()) for text in texts)
        assert 0 < len(asked) <= most.calls
        assert 0 < read <= most.prompt_tokens
        assert sum(body["max_tokens"] for body in asked) <= most.completion_tokens
    assert told["reviewer"].calls == sum(body["model"] == "reviewer" for body in bodies)
    assert role_calls(whole.run.config, make_plan(whole.run, until="M2")) == []


def test_another_models_rewards_are_called_by_their_name(finished: tuple[RunDir, Path]) -> None:
    run, _ = finished
    facts = [json.loads((run.path / model / "iteration.json").read_text()) for model in ("M1", "M2")]
    assert [f["rewards"] for f in facts] == ["none", "rlaif"]
    assert facts[1]["judge"] == run.config.judge.model
    assert "judge" not in facts[0]


def test_judgments_are_in_the_order_of_the_answers(finished: tuple[RunDir, Path]) -> None:
    run, _ = finished
    order = [(c.prompt_id, c.index) for c in jsonl.read(run.path / "M2/completions.jsonl", Completion)]
    judged = [(j.prompt_id, j.index) for j in jsonl.read(run.path / "M2/judgments.jsonl", Judgment)]
    assert judged == [place for place in sorted(order) if place in judged]
    assert len(judged) > 6


@pytest.mark.slow
def test_a_replay_asks_nobody_costs_nothing_and_makes_the_same(
    finished: tuple[RunDir, Path], server: tuple[ScriptedServer, Path], tmp_path: Path
) -> None:
    run, folder = finished
    before = len(server[0].asked)
    again = RunDir.create(tmp_path / "again", run.config)
    with services(again, folder, 0.0, replay=True) as shared:
        make_all(again, shared)
        assert shared.budget is not None
        assert (shared.budget.spent, len(server[0].asked)) == (0.0, before)
    assert made(again) == made(run)


def test_a_replay_without_the_answers_says_so(finished: tuple[RunDir, Path], tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run", "M2/judgments")
    with services(run, tmp_path, replay=True) as shared, pytest.raises(EngineError, match="not in the store"):
        make_all(run, shared)


@pytest.mark.slow
def test_a_stop_at_the_budget_loses_nothing(
    finished: tuple[RunDir, Path], server: tuple[ScriptedServer, Path], tmp_path: Path
) -> None:
    """Some of the calls fit the budget; what they said is paid for once."""
    run = copied(finished, tmp_path / "run", "M2/prompts")
    before = len(server[0].asked)
    with services(run, tmp_path, 0.003) as shared, pytest.raises(EngineError, match=r"(?s)--max-cost.*goes on there"):
        make_all(run, shared)
    paid = len(server[0].asked) - before
    assert 0 < paid * CALL <= 0.003
    assert (run.path / "M2/prompts.raw.jsonl").read_bytes()
    with services(run, tmp_path, 100.0) as shared:
        make_all(run, shared)
    bodies = [json.dumps(asked.body, sort_keys=True) for asked in server[0].asked[before:]]
    assert len(bodies) == len(set(bodies)) > paid
    assert made(run) == made(finished[0])


@pytest.mark.slow
def test_a_run_killed_while_a_served_judge_judges_goes_on_where_it_was(
    finished: tuple[RunDir, Path], server: tuple[ScriptedServer, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(finished, tmp_path / "run", "M2/judgments")
    append = jsonl.append

    def kill(path: Path, records: Iterable[Any]) -> None:
        append(path, records := list(records))
        if path.name == "judgments.jsonl" and records:
            os.kill(os.getpid(), signal.SIGKILL)

    def judge() -> None:
        monkeypatch.setattr(jsonl, "append", kill)
        with services(run, tmp_path) as shared:
            make_all(run, shared)

    run_until_killed(judge)
    stored = (run.path / "M2/judgments.jsonl").read_bytes().count(b"\n")
    total = len(jsonl.read(finished[0].path / "M2/judgments.jsonl", Judgment))
    assert 0 < stored <= total
    with services(run, tmp_path) as shared:
        make_all(run, shared)
    assert made(run) == made(finished[0])


@pytest.mark.slow
def test_what_the_judge_refuses_has_no_score_and_is_counted(
    finished: tuple[RunDir, Path], server: tuple[ScriptedServer, Path], tmp_path: Path
) -> None:
    run = copied(finished, tmp_path / "run", "M2/judgments")
    refused = jsonl.read(run.path / "M2/completions.jsonl", Completion)[0].text.strip()

    def script(asked: Asked) -> Answer:
        is_refused = asked.body["messages"][-1]["content"].rpartition("Answer: ")[2].strip() == refused
        return said(None, finish_reason="content_filter") if is_refused else helps({}, asked)

    with scripted_server(script) as other:
        config = recipes.change(run.config, [f"judge.model=openai:judge@{other.url}"])
        again = RunDir(run.path, config)
        with services(again, tmp_path) as shared:
            make_all(again, shared)
    stage = again.finished_stage("M2/judgments")
    assert stage is not None
    reasons = [j.reason for j in jsonl.read(run.path / "M2/judgments.jsonl", Judgment)]
    assert stage.counts["refused"] == reasons.count("refused") > 0
    assert stage.counts["parsed"] == stage.counts["judgments"] - stage.counts["refused"]


def test_another_judge_is_another_stage(finished: tuple[RunDir, Path]) -> None:
    run, _ = finished
    other = recipes.change(run.config, ["judge.model=openai:other@http://127.0.0.1:9/v1"])
    assert first_change(RunDir(run.path, other)) == "M2/judgments"
    thrifty = recipes.change(run.config, ["judge.request.max_tokens=9"])
    assert first_change(RunDir(run.path, thrifty)) == "M1/reviews"
    assert first_change(run) is None
    with pytest.raises(IncompatibleRunError, match=r"inputs\.judge"):
        run_iteration(RunDir(run.path, other), until="M2", preflight=False)


def test_what_cannot_be_asked_is_told_before_anything_is_made(
    server: tuple[ScriptedServer, Path], tmp_path: Path
) -> None:
    """A missing price, a missing key, a model that is not there."""
    unpaid = make(tmp_path / "unpaid", server, f"judge.model=openai:dear@{server[0].url}")
    with services(unpaid, tmp_path, 1.0) as shared, pytest.raises(ConfigError, match="no price for 'dear'"):
        make_all(unpaid, shared)
    keyless = make(tmp_path / "keyless", server, f"judge.model=openai:judge@{server[0].url}#NOT_SET_ANYWHERE")
    with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE"):
        run_iteration(keyless, preflight=False)
    away = make(tmp_path / "away", server, f"judge.model={tmp_path / 'away'}")
    with pytest.raises(ConfigError, match=r"judge\.model: "):
        run_iteration(away, preflight=False)
    trained = make(tmp_path / "trained", server, "engine.kind=openai")
    with pytest.raises(ConfigError, match="cannot be trained here"):
        run_iteration(trained, preflight=False)
    assert not list(tmp_path.glob("*/M1"))
