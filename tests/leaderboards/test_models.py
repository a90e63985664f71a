"""What is opened for a name, when, and what a result is keyed by."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from leaderboards.base import Finished, Setting
from leaderboards.models import (
    as_self,
    finished_settings,
    judge_role,
    open_candidate,
)
from selfreward_bench import recipes
from selfreward_bench.config import EngineConfig, RunConfig
from selfreward_bench.engines.base import ChoiceRequest
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.engines.templates import OUTSIDE_RUNS, Chosen
from selfreward_bench.errors import ConfigError, DataError, EngineError, IncompatibleRunError
from selfreward_bench.models.candidates import Candidate, parse_candidate
from selfreward_bench.models.opening import Services, check_served, served_name
from selfreward_bench.prices import Budget, Price, PriceTable
from selfreward_bench.storage.model_files import model_fingerprint, weights_in
from selfreward_bench.storage.responses import ResponseStore
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Message

from ..fake_server import fake_server
from .conftest import build_checkpoint

Checkpoint = Callable[..., Path]
SERVICES = Services(EngineConfig())


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What engines were opened on."""
    sources: list[Path] = []

    def open_engine(config: EngineConfig, source: Path, *, threads: int | None = None, **_: object) -> ScriptedEngine:
        sources.append(source)
        return ScriptedEngine({"*": "Hello"})

    monkeypatch.setattr("selfreward_bench.models.opening.open_engine", open_engine)
    return sources


def test_a_directory_is_loaded_when_it_is_needed_and_keyed_by_its_weights(
    checkpoint: Checkpoint, opened: list[Path]
) -> None:
    path, other = checkpoint("a", 1.0), checkpoint("b", 2.0)
    copy = shutil.copytree(path, path.parent / "copy")
    edited = shutil.copytree(path, path.parent / "edited")
    (edited / "config.json").write_text('{"rms_norm_eps": 0.5}')
    found = [open_candidate(parse_candidate(str(p)), SERVICES) for p in (path, copy, other, edited)]
    prints = [o.model.fingerprint for o in found]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    assert opened == []
    found[0].model.open()
    found[0].model.open()
    assert opened == [path]
    assert open_candidate(parse_candidate(str(path)), SERVICES, name="mine").model.name == "mine"
    with pytest.raises(EngineError):
        open_candidate(Candidate("directory", "x", "x", path.parent / "x"), SERVICES)


def test_finished_files_are_keyed_by_their_bytes_and_have_no_model(tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    folder.mkdir()
    (folder / "a.jsonl").write_text("{}")
    first = open_candidate(parse_candidate(str(folder)), SERVICES)
    alone = open_candidate(parse_candidate(str(folder / "a.jsonl")), SERVICES)
    (folder / "b.jsonl").write_text("{}")
    assert open_candidate(parse_candidate(str(folder)), SERVICES).model.fingerprint != first.model.fingerprint
    assert (
        open_candidate(parse_candidate(str(folder / "b.jsonl")), SERVICES).model.fingerprint == alone.model.fingerprint
    )
    with pytest.raises(EngineError, match="holds finished outputs"):
        first.model.open()


def test_models_of_one_file_are_keyed_apart(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("{}")
    texts = (f"{file}:m", f"{file}:n", f"{file}:m", str(file))
    prints = [open_candidate(parse_candidate(text), SERVICES).model.fingerprint for text in texts]
    assert (prints[0] == prints[2], len(set(prints))) == (True, 3)


def test_a_model_is_named_only_in_files_that_hold_models(tmp_path: Path) -> None:
    results, outputs = tmp_path / "results_1.json", tmp_path / "outputs.json"
    results.write_text('{"results": {"piqa": {"acc,none": 0.5}}}')
    outputs.write_text('[{"instruction": "a", "output": "b", "generator": "m"}]')
    setting, rows = Setting(RunConfig()), ("nlp", "alpaca-eval")
    assert finished_settings(parse_candidate(f"{outputs}:m"), rows, setting)["alpaca-eval"].finished == Finished(
        "alpaca-outputs", outputs, "m"
    )
    with pytest.raises(DataError, match="no file with models to choose from: leave out 'm'"):
        finished_settings(parse_candidate(f"{results}:m"), rows, setting)


def test_served_models_are_keyed_by_name_and_address(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ("openai:m@http://127.0.0.1:9/v1", "openai:m@http://127.0.0.1:9/v1#KEY", "openai:n@http://127.0.0.1:9/v1")
    prints = [open_candidate(parse_candidate(t), SERVICES).model.fingerprint for t in texts]
    assert prints[0] == prints[1] != prints[2]
    assert [served_name(t) for t in (*texts, "runs/a:M1", "self")] == ["m", "m", "n", None, None]


def test_a_hub_model_that_cannot_be_had() -> None:
    with pytest.raises(EngineError, match=r"'owner/name' is neither a directory nor can it be had from the hub"):
        open_candidate(parse_candidate("owner/name"), SERVICES)


def test_a_hub_model_is_asked_for_once_and_keyed_by_its_weights(
    checkpoint: Checkpoint, opened: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, asked = checkpoint("a", 1.0), []

    def directory(text: str, *, offline: bool) -> Path:
        asked.append((text, offline))
        return path

    monkeypatch.setattr("selfreward_bench.sources.hub.hub_directory", directory)
    RunDir.create(tmp_path / "run", recipes.load("micro", ["base=owner/name@v1"]))
    local = open_candidate(parse_candidate(str(path)), SERVICES).model.fingerprint
    for text in ("owner/name@v1", f"{tmp_path}/run:M0"):
        found = open_candidate(parse_candidate(text), SERVICES)
        assert (found.model.fingerprint, found.model.source) == (local, f"owner/name@{path.name}")
        found.model.open()
    assert judge_role("owner/name@v1", replace(SERVICES, replay=True)).snapshot == local
    assert asked == [("owner/name@v1", False)] * 2 + [("owner/name@v1", True)]
    assert opened == [path, path]


def test_who_judges(checkpoint: Checkpoint, tmp_path: Path, opened: list[Path]) -> None:
    assert [judge_role(name, SERVICES).engine for name in ("oracle", "self")] == [None, None]
    path = checkpoint("judge")
    role = judge_role(str(path), SERVICES)
    assert (role.name, role.snapshot) == (
        str(path),
        open_candidate(parse_candidate(str(path)), SERVICES).model.fingerprint,
    )
    assert opened == []
    (tmp_path / "outputs.json").write_text("[]")
    with pytest.raises(ConfigError, match="finished files cannot judge"):
        judge_role(str(tmp_path / "outputs.json"), SERVICES)


def test_self_is_the_model_itself_and_its_engine_stays_open(checkpoint: Checkpoint, opened: list[Path]) -> None:
    model = open_candidate(parse_candidate(str(checkpoint("a"))), SERVICES)
    role = as_self(judge_role("self", SERVICES), model)
    assert role is not None
    assert role.engine is not None
    assert role.snapshot == model.model.fingerprint
    list(role.engine.generate([]))
    role.engine.close()
    assert list(model.engine.generate([])) == []
    assert len(opened) == 1
    oracle = judge_role("oracle", SERVICES)
    assert as_self(oracle, model) is oracle
    assert as_self(None, model) is None


# --- chat templates


@pytest.fixture
def rendering(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What engines were told of templates."""
    told: list[str | None] = []

    def open_engine(*_: object, chat_template: str | None, **__: object) -> ScriptedEngine:
        told.append(chat_template)
        return ScriptedEngine({"*": "Hello"})

    monkeypatch.setattr("selfreward_bench.models.opening.open_engine", open_engine)
    return told


def with_template(path: Path, template: str | None) -> Path:
    """A checkpoint whose files say which chat template it brings."""
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    return path


def test_a_named_template_renders_models_outside_a_run_and_is_in_their_keys(
    checkpoint: Checkpoint, rendering: list[str | None], tmp_path: Path
) -> None:
    paths = with_template(checkpoint("bare", 1.0), None), with_template(checkpoint("own", 2.0), "{{ 1 }}")
    for path in paths:
        unnamed = open_candidate(parse_candidate(str(path)), SERVICES).model
        models = [
            open_candidate(parse_candidate(str(path)), replace(SERVICES, chat_template=name)).model
            for name in ("plain", "fastchat:tulu")
        ]
        assert unnamed.rendering == {}
        assert {m.fingerprint for m in models} == {unnamed.fingerprint}
        assert len({m.rendering.get("chat_template") for m in (unnamed, *models)}) == 3
        assert len({m.snapshot for m in (unnamed, *models)}) == 3
        assert unnamed.snapshot == unnamed.fingerprint
        for model in (unnamed, *models):
            model.open()
    assert rendering == [None, "plain", "fastchat:tulu"] * 2
    named = replace(SERVICES, chat_template="plain")
    served = open_candidate(parse_candidate("openai:m@http://127.0.0.1:9/v1"), named).model
    (tmp_path / "a.jsonl").write_text("{}")
    finished = open_candidate(parse_candidate(str(tmp_path / "a.jsonl")), named).model
    assert (served.chat_template, finished.chat_template) == (None, None)


def test_a_judge_outside_a_run_keeps_its_own_template(checkpoint: Checkpoint, rendering: list[str | None]) -> None:
    """It is another model than the ones evaluated; what is named for those serves it only where it has none."""
    named = replace(SERVICES, chat_template="fastchat:tulu")
    own, bare = with_template(checkpoint("own", 1.0), "{{ 1 }}"), with_template(checkpoint("bare", 2.0), None)
    roles = [judge_role(str(path), services) for path in (own, bare) for services in (SERVICES, named)]
    assert roles[0].snapshot == roles[1].snapshot
    assert roles[2].snapshot != roles[3].snapshot
    for role in roles:
        assert role.engine is not None
        list(role.engine.generate([]))
    assert rendering == [None, None, None, "fastchat:tulu"]


def test_a_model_of_a_run_keeps_the_runs_template(
    checkpoint: Checkpoint, rendering: list[str | None], tmp_path: Path
) -> None:
    """Whatever is named for other models of the same call."""
    base = with_template(checkpoint("base", 1.0), None)
    runs = {}
    for name, settings in (("tulu", ["chat_template=fastchat:tulu"]), ("none", [])):
        runs[name] = RunDir.create(tmp_path / name, recipes.load("micro", [f"base={base}", *settings])).path
        with_template(build_checkpoint(runs[name] / "M1/checkpoint", 2.0), "{{ 1 }}")
    texts = [f"{run}:{model}" for run in runs.values() for model in ("M0", "M1")]
    for services in (SERVICES, replace(SERVICES, chat_template="fastchat:vicuna_v1.1")):
        models = [open_candidate(parse_candidate(text), services).model for text in texts]
        for model in models:
            model.open()
        tulu = Chosen("fastchat:tulu").content
        assert [m.rendering.get("chat_template") for m in models] == [tulu, tulu, None, None]
        assert [m.snapshot == m.fingerprint for m in models] == [False, True, True, True]
    assert rendering == ["fastchat:tulu", None, "plain", None] * 2


DATED = "{{ strftime_now('%d %b %Y') }}{{ messages }}"


def test_a_dated_template_shows_one_day_which_is_in_the_key(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    days: list[str | None] = []

    def open_engine(config: EngineConfig, source: Path, **_: object) -> ScriptedEngine:
        days.append(config.date)
        return ScriptedEngine({})

    monkeypatch.setattr("selfreward_bench.models.opening.open_engine", open_engine)
    dated, plain = with_template(checkpoint("dated", 1.0), DATED), with_template(checkpoint("plain", 1.0), "{{ 1 }}")
    run = RunDir.create(tmp_path / "run", recipes.load("micro", ["engine.date=2031-02-03"])).path
    shutil.copytree(dated, run / "M1/checkpoint")
    later = replace(SERVICES, engine=EngineConfig(date="2032-01-01"))
    asked = [(dated, SERVICES), (plain, SERVICES), (f"{run}:M1", SERVICES), (dated, later)]
    models = [open_candidate(parse_candidate(str(text)), services).model for text, services in asked]
    for model in models:
        model.open()
    assert days == [OUTSIDE_RUNS, OUTSIDE_RUNS, "2031-02-03", "2032-01-01"]
    assert [m.date for m in models] == [OUTSIDE_RUNS, None, "2031-02-03", "2032-01-01"]
    assert len({str(m.rendering) for m in models}) == len({m.snapshot for m in models}) == 4
    named = replace(SERVICES, chat_template=str(tmp_path / "mine.jinja"))
    (tmp_path / "mine.jinja").write_text(DATED)
    assert open_candidate(parse_candidate(str(plain)), named).model.date == OUTSIDE_RUNS
    assert open_candidate(parse_candidate(str(dated)), replace(named, chat_template="plain")).model.date is None


def test_a_model_of_a_run_is_the_one_that_its_stage_left(checkpoint: Checkpoint, tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", recipes.load("micro"))
    path = build_checkpoint(run.path / "M1/checkpoint", 1.0)
    stage = run.stage("M1/train", {}, {})
    stage.finish({}, {"checkpoint": weights_in(model_fingerprint(path))})
    first = open_candidate(parse_candidate(f"{run.path}:M1"), SERVICES).model
    (path / "config.json").write_text("{}")  # another model, which is evaluated as such
    assert open_candidate(parse_candidate(f"{run.path}:M1"), SERVICES).model.fingerprint != first.fingerprint
    build_checkpoint(path, 2.0)
    for text in (f"{run.path}:M1", str(path)):
        with pytest.raises(IncompatibleRunError, match=r"other weights than M1/train left there"):
            open_candidate(parse_candidate(text), SERVICES)


# --- served models share a store and a budget


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResponseStore]:
    made = ResponseStore(tmp_path / "responses.sqlite")
    yield made
    made.close()


def ask(services: Services, spec: str, n: int = 4) -> tuple[int, float]:
    """How many of n questions are answered, and what that cost."""
    found = open_candidate(parse_candidate(spec), services)
    requests = [ChoiceRequest(f"q{i}", (Message(role="user", content=f"Is it {i}?"),), ("m", "M")) for i in range(n)]
    answered = sum(len(batch) for batch in found.engine.choice_logprobs(requests))
    return answered, found.model.spent()


def test_served_models_share_store_budget_and_replay(store: ResponseStore) -> None:
    prices = PriceTable(models={"m": Price(prompt=1e6, completion=0), "n": Price(prompt=1e6, completion=0)})
    with fake_server() as server:
        budget = Budget(prices)
        services = Services(EngineConfig(), store=store, budget=budget, concurrency=3)
        answered, cost = ask(services, f"openai:m@{server.url}")
        assert answered == 4
        assert cost == budget.spent > 0
        assert server.stats()["in_flight_max"] <= 3
        assert ask(services, f"openai:n@{server.url}")[0] == 4
        assert budget.spent == 2 * cost
        asked = server.stats()["requests"]
        assert ask(services, f"openai:m@{server.url}") == (4, 0)
        assert server.stats()["requests"] == asked
        url = server.url
    replayed = Services(EngineConfig(), store=store, replay=True)
    assert ask(replayed, f"openai:m@{url}") == (4, 0)
    assert ask(replayed, f"openai:m@{url}", 5)[0] == 4
    poor = Services(EngineConfig(), store=store, budget=Budget(prices, max_cost=0.5))
    assert ask(poor, f"openai:m@{url}", 6)[0] == 4


def test_what_would_stop_a_served_model_is_found_out_first(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "openai:m@http://127.0.0.1:9/v1"
    limited = Services(EngineConfig(), budget=Budget(PriceTable(models={"n": Price(prompt=1, completion=1)}), 1.0))
    with pytest.raises(ConfigError, match="no price for 'm'"):
        check_served(text, limited)
    check_served("openai:n@http://127.0.0.1:9/v1", limited)
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(ConfigError, match="NOT_THERE"):
        check_served(f"{text}#NOT_THERE", SERVICES)
    check_served(f"{text}#NOT_THERE", Services(EngineConfig(), budget=limited.budget, replay=True))
    for other in ("self", "oracle", "runs/a:M1", text):
        check_served(other, SERVICES)
