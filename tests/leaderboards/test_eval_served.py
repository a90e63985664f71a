"""``srbench eval`` with served models: faults, budgets, kills and replay change no number; real servers as they are."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest

import leaderboards
from leaderboards import standings
from leaderboards.alpaca_eval import scores
from leaderboards.alpaca_eval.length_control import length_controlled
from leaderboards.session import Evaluation
from selfreward_bench import recipes
from selfreward_bench.engines.served import protocol as served_protocol
from selfreward_bench.errors import ConfigError
from selfreward_bench.prices import Price, PriceTable
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.responses import ResponseStore
from selfreward_bench.types import EvalResult, Judgment

from ..fake_server import FakeServer, fake_server
from ..forking import fork, srbench
from ..transformers_server import MICRO, STORIES, transformers_server
from .test_session import put, write_alpaca_data

N, KILLS = 805, 3
FAULTS = {"429": 0.06, "500": 0.04, "502": 0.02, "503": 0.03, "reset": 0.05, "truncated": 0.04, "garbage": 0.03}
FAULTS |= {"empty": 0.03}  # 30% in all
TEXTS = [f"Tell me about thing {i}, and why it matters to {i % 7} people." for i in range(N)]
KEY = "alpaca-eval@1"


@pytest.fixture(autouse=True)
def few_refits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are tested with the length control itself."""
    monkeypatch.setattr(scores, "length_controlled", partial(length_controlled, n_refits=20))


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("SRBENCH_DATA_DIR", "data")
    monkeypatch.setenv("SRBENCH_STORE", "responses.sqlite")


@pytest.fixture
def outputs() -> Path:
    """Somebody's finished answers to 805 made-up instructions, beside the made-up references."""
    write_alpaca_data(Path("data"), TEXTS)
    answers = [f"Answer {i}. " * (1 + i % 6) for i in range(N)]
    rows = [{"instruction": t, "output": a, "generator": "mine"} for t, a in zip(TEXTS, answers, strict=True)]
    return put(Path("mine/model_outputs.json"), rows)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As patient as always, but with short waits in between."""
    usual = served_protocol.Limits
    quick: Callable[..., Any] = partial(usual, backoff=0.01, max_wait=0.2)
    monkeypatch.setattr("selfreward_bench.engines.served.Limits", quick)


def evaluate(outputs: Path, server: str, store: str = "responses.sqlite", **options: Any) -> Evaluation:
    os.environ["SRBENCH_STORE"] = store
    return leaderboards.evaluate([outputs], benchmarks=["alpaca-eval"], judge=f"openai:judge@{server}", **options)


def numbers(result: EvalResult) -> dict[str, Any]:
    """What must not depend on the course of things (servers on other ports are other judges)."""
    found = result.model_dump(mode="json", exclude={"seconds", "cost", "config_hash", "judge", "comparability"})
    found["settings"] = {name: value for name, value in found["settings"].items() if name != "judge"}
    return found | {"n": result.metrics["win_rate"].n_scored}


def judged(done: Evaluation) -> dict[str, float | None]:
    return {j.id: j.score for j in jsonl.read(done.root / "mine/eval" / KEY / "judgments.jsonl", Judgment)}


def stored(path: Path) -> int:
    """How many answers are in a store that another process may be writing."""
    if not path.exists():
        return 0
    database = sqlite3.connect(path, timeout=30)
    try:
        return int(database.execute("SELECT count(*) FROM responses").fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return 0
    finally:
        database.close()


def stored_requests(path: Path) -> set[str]:
    """What the fake server calls the requests whose answers are stored."""
    store = ResponseStore(path)
    keys = [row[0] for row in store._db.execute("SELECT key FROM responses")]
    ids = {json.loads(response.raw)["id"].removeprefix("fake-") for response in store.get(keys).values()}
    store.close()
    return ids


# --- faults, budgets, kills, replay


@pytest.mark.slow
def test_805_judgments_with_faults_are_those_without(outputs: Path, quick_retries: None) -> None:
    with fake_server() as calm, fake_server(faults=FAULTS) as rough:
        expected = evaluate(outputs, calm.url, "calm.sqlite", output=Path("calm"))
        done = evaluate(outputs, rough.url, output=Path("rough"))
        asked = rough.stats()["requests"]
        again = evaluate(outputs, rough.url, output=Path("rough"))
        elsewhere = evaluate(outputs, rough.url, output=Path("elsewhere"))
        assert rough.stats()["requests"] == asked
    assert (expected.errors, done.errors) == ((), ())
    (result,) = done.results
    assert numbers(result) == numbers(expected.results[0])
    assert judged(done) == judged(expected)
    assert (result.metrics["win_rate"].n_scored, result.incomplete) == (N, 0)
    assert len(asked) == N
    assert sum(r["asked"] for r in asked.values()) > 1.25 * N  # the faults did happen
    assert all(r["answered"] == 1 and r["repeated"] == 0 for r in asked.values())
    assert again.results == done.results
    assert numbers(elsewhere.results[0]) == numbers(result)


@pytest.mark.slow
def test_a_spent_budget_stops_cleanly_and_the_next_call_goes_on(outputs: Path) -> None:
    prices, n_all = PriceTable(models={"judge": Price(prompt=10.0, completion=30.0)}), 200
    with fake_server() as server:
        whole = evaluate(outputs, server.url, "whole.sqlite", output=Path("whole"), prices=prices, limit=n_all)
        cost = whole.results[0].cost
        assert cost > 0
        part = evaluate(outputs, server.url, prices=prices, max_cost=cost / 2, limit=n_all)
        (result,) = part.results
        n = result.metrics["win_rate"].n_scored
        assert part.errors == ()
        assert 0 < n < n_all
        assert (result.metrics["win_rate"].n_total, result.incomplete) == (n_all, n_all - n)
        assert 0 < result.cost <= cost / 2
        reasons = part.samples(KEY).reason.value_counts()
        assert reasons.to_dict() == {"over_budget": n_all - n}
        before = server.stats()["requests"]
        rest = evaluate(outputs, server.url, prices=prices, max_cost=cost, limit=n_all)
        after = server.stats()["requests"]
        (rest.root / "mine/eval" / KEY / "result.json").unlink()  # as if killed at the very end
        assert evaluate(outputs, server.url, limit=n_all).results[0].comparability == rest.results[0].comparability
        assert server.stats()["requests"] == after
    (finished,) = rest.results
    assert finished.comparability["served"] == "judge-2024"  # as the server calls itself
    assert numbers(finished) == numbers(whole.results[0])
    assert finished.incomplete == 0
    assert finished.cost == pytest.approx(cost)  # of both calls
    assert len(after) == n_all
    assert all(after[name]["asked"] <= 2 for name in before)  # once for `whole`, and once for `part` or for the rest


@pytest.mark.slow
def test_two_models_with_nothing_in_the_store_are_no_error_and_asked_later() -> None:
    config = recipes.load("micro", ["judge.mode=sampled", "judge.prompt=additive-5pt", "eval.limit=4"])
    names = ("quality", "judge-accuracy", "head-to-head")
    with fake_server(replies={"Score:": "Fine.\n\nScore: 3"}) as server:
        both = [f"openai:{name}@{server.url}" for name in ("one", "two")]
        ask = partial(leaderboards.evaluate, both, config=config, world="micro", benchmarks=names)
        empty = ask(replay=True)
        assert server.stats()["requests"] == {}
        reasons = empty.samples("micro-quality@1").reason
        whole = ask()
    assert (empty.errors, empty.tournament, empty.is_scored) == ((), None, False)
    assert all(r.incomplete for r in empty.results)
    assert reasons.unique().tolist() == ["not_in_store"]
    assert whole.errors == ()
    assert whole.is_scored
    assert [r.incomplete for r in whole.results] == [0] * 4
    assert whole.tournament is not None
    assert (whole.root / standings.DRIFT).is_file()


@pytest.mark.slow
def test_replay_needs_no_server_and_gives_the_same_bytes(outputs: Path) -> None:
    with fake_server() as server:
        done = evaluate(outputs, server.url, output=Path("first"), limit=40)
        url = server.url
    replayed = evaluate(outputs, url, output=Path("second"), limit=40, replay=True)
    assert replayed.errors == ()

    def read(root: str) -> dict[str, bytes]:
        folder = Path(root, "mine/eval", KEY)
        found = {p.name: p.read_bytes() for p in folder.iterdir()}
        kept = json.loads(found["result.json"])
        return found | {"result.json": json.dumps(kept | {"seconds": 0, "cost": 0}).encode()}

    first, second = read("first"), read("second")
    assert first.keys() == second.keys()
    order = {name: sorted(found["judgments.jsonl"].splitlines()) for name, found in (("1", first), ("2", second))}
    assert order["1"] == order["2"]  # in the order of arrival
    assert {n: b for n, b in first.items() if n != "judgments.jsonl"} == {
        n: b for n, b in second.items() if n != "judgments.jsonl"
    }
    assert done.results[0].cost == replayed.results[0].cost == 0
    lacking = evaluate(outputs, url, output=Path("second"), limit=45, replay=True)
    assert lacking.errors == ()
    assert lacking.samples(KEY).reason.value_counts().to_dict() == {"not_in_store": 5}


@pytest.mark.slow
def test_a_judge_without_log_probabilities_is_asked_in_words(outputs: Path) -> None:
    replies = {"thing 1,": "m", "thing 2,": "M", "thing 3,": "Both are fine."}
    with fake_server(faults={"no_logprobs": 1.0}, max_faults=99, replies=replies | {"thing": "M"}) as server:
        done = evaluate(outputs, server.url, limit=20)
        n_sent = []
        for _ in range(4):
            n_sent.append(sum(r["asked"] for r in server.stats()["requests"].values()))
            again = evaluate(outputs, server.url, limit=20)
    assert n_sent[0] < n_sent[1] < n_sent[2] == n_sent[3]  # two later calls ask again, and no more
    (result,) = done.results
    assert "text verdict" in (result.judge or "")
    assert "text verdict" in result.comparability["parameters"]
    win_rate = result.metrics["win_rate"]
    assert (win_rate.n_scored, win_rate.n_total, result.incomplete) == (19, 20, 1)
    assert again.results[0].metrics["win_rate"] == win_rate  # it said the same
    assert again.results[0].incomplete == 0
    samples = done.samples(KEY)
    assert samples.reason.value_counts().to_dict() == {"no_verdict": 1}
    words = samples.get("judgment_ab", samples.reason).fillna(samples.get("judgment_ba", samples.reason))
    assert words[samples.prompt.str.contains("thing 1,")].tolist() == ["m"]
    assert set(words) == {"m", "M", "Both are fine."}


@pytest.mark.slow
def test_a_served_model_answers_and_the_cost_of_both_is_told() -> None:
    write_alpaca_data(Path("data"), TEXTS[:30])
    prices = PriceTable(models={"mine": Price(prompt=1.0, completion=1.0), "judge": Price(prompt=1.0, completion=1.0)})
    with fake_server() as server:
        judge = f"openai:judge@{server.url}"
        model = f"openai:mine@{server.url}"
        done = leaderboards.evaluate([model], benchmarks=["alpaca-eval"], judge=judge, prices=prices)
        requests = server.stats()["requests"]
    assert done.errors == ()
    (result,) = done.results
    assert result.checkpoint == "mine"
    assert result.metrics["win_rate"].n_scored == 30
    assert len(requests) == 60
    table = done.metrics()
    assert set(table.judge) == {result.judge}
    assert result.cost > 0
    answers_alone = leaderboards.evaluate([model], benchmarks=["alpaca-eval"], judge=judge, prices=prices)
    assert answers_alone.results == done.results


@pytest.mark.slow
def test_a_server_that_is_not_there_is_one_message_and_leaves_a_failure(outputs: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = evaluate(outputs, f"http://127.0.0.1:{port}/v1", limit=3)
    assert done.results == ()
    (error,) = done.errors
    assert error.startswith(f"mine: {KEY}: ")
    assert "127.0.0.1" in error
    assert standings.read_failure(done.root / "mine/eval" / KEY / "failure.json").message in error


def test_a_limit_without_a_price_is_refused_before_anything_is_asked(outputs: Path) -> None:
    with pytest.raises(ConfigError, match="no price for 'judge'"):
        evaluate(outputs, "http://127.0.0.1:9/v1", max_cost=1.0)
    assert not Path("runs").exists()


# --- the command itself


def command(outputs: Path, server: FakeServer, *options: str) -> ForkProcess:
    """``srbench eval`` in a process of its own."""
    own = ["--no-report", "--benchmarks", "alpaca-eval", "--judge", f"openai:judge@{server.url}"]
    return fork(lambda: srbench("eval", "--checkpoint", outputs, *own, *options), Path("log"))


def finish(process: ForkProcess) -> None:
    process.join()
    assert process.exitcode == 0, Path("log").read_text()


@pytest.mark.slow
def test_kill_9_three_times_then_finishing_gives_the_same(outputs: Path) -> None:
    """Kills fall while judgments arrive, and what was stored then is never asked for again."""
    with fake_server() as calm, fake_server(latency=0.05, faults=FAULTS) as rough:
        expected = evaluate(outputs, calm.url, "calm.sqlite", output=Path("calm"))
        store = Path("responses.sqlite")
        kept: dict[str, int] = {}  # request -> how often it was asked when its answer was found stored
        os.environ["SRBENCH_STORE"] = str(store)
        start = partial(command, outputs, rough, "--concurrency", "8", "--output", "killed")
        for kill in range(1, KILLS + 1):
            process = start()
            while stored(store) < kill * 110 and process.is_alive():
                time.sleep(0.02)
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL, Path("log").read_text()
            counts = rough.stats()["requests"]
            kept |= {name: counts[name]["asked"] for name in stored_requests(store) - kept.keys()}
        assert KILLS * 110 <= len(kept) < N
        finish(start())
        asked = rough.stats()["requests"]
        folder = Path("killed/mine/eval", KEY)
        replay = partial(command, outputs, rough, "--replay", "--output", "replayed", "--limit", "50")
    found = standings.read_result(folder / "result.json")
    part = evaluate(outputs, rough.url, output=Path("killed"))  # in this process, of what is there: nothing is asked
    assert part.results == (found,)
    assert found.metrics["n_wins"] == expected.results[0].metrics["n_wins"]
    assert found.metrics["win_rate"] == expected.results[0].metrics["win_rate"]
    assert {j.id: j.score for j in jsonl.read(folder / "judgments.jsonl", Judgment)} == judged(expected)
    assert found.comparability["served"] == "judge-2024"
    assert {name: asked[name]["asked"] for name in kept} == kept
    assert sum(r["repeated"] for r in asked.values()) <= KILLS * 2 * 8  # at most what was under way at each kill
    finish(replay())  # the server is gone
    kinds = [jsonl.read(Path(r, "mine/eval", KEY, "judgments.jsonl"), Judgment) for r in ("killed", "replayed")]
    before, again = ({j.id: j for j in some} for some in kinds)
    assert len(again) == 50
    assert again.items() <= before.items()


# --- real servers


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with transformers_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.mark.slow
@pytest.mark.parametrize(
    "root",
    [
        pytest.param(MICRO, id="micro"),
        pytest.param(STORIES, id="stories260k", marks=pytest.mark.skipif(not STORIES.is_dir(), reason="no data")),
    ],
)
def test_a_real_server_as_candidate_and_as_judge(root: Path, real_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient: Callable[..., Any] = partial(served_protocol.Limits, attempts=2, backoff=0.05)
    monkeypatch.setattr("selfreward_bench.engines.served.Limits", impatient)
    config = recipes.load("micro", ["eval.samples=1"])
    write_alpaca_data(Path("data"), TEXTS[:4])
    answers = put(Path("mine/model_outputs.json"), [{"instruction": t, "output": "It is so."} for t in TEXTS[:4]])
    model = f"openai:{root}@{real_server}"
    as_candidate = leaderboards.evaluate(
        [model], benchmarks=["quality", "alpaca-eval"], world="micro", limit=4, config=config, concurrency=2
    )
    as_judge = leaderboards.evaluate([answers], benchmarks=["alpaca-eval"], judge=model, concurrency=2)
    if root == STORIES:  # without a chat template the server can answer nobody; that is said, and soon
        assert as_candidate.results == as_judge.results == ()
        assert len(as_candidate.errors) == 2
        assert all("stopped answering" in e and "HTTP 500" in e for e in (*as_candidate.errors, *as_judge.errors))
        return
    assert as_candidate.errors == as_judge.errors == ()
    assert [r.benchmark for r in as_candidate.results] == ["micro-quality@1", "micro-alpaca-eval@1"]
    assert [next(iter(r.metrics.values())).n_total for r in as_candidate.results] == [4, 4]
    assert as_candidate.results[1].metrics["win_rate"].n_scored == 4
    (result,) = as_judge.results
    assert "text verdict" in (result.judge or "")
    assert "text verdict" in result.comparability["parameters"]
    reasons = as_judge.samples(KEY).reason
    unread = int((reasons == "no_verdict").sum())
    assert unread > 0  # it was trained to say other things than m and M
    assert (result.metrics["win_rate"].n_scored, result.metrics["win_rate"].n_total) == (4 - unread, 4)
    assert (result.incomplete, reasons.notna().sum()) == (unread, unread)
