"""``srbench eval`` with providers as they are: what they refuse, how they reason, what a result then says of itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import leaderboards
from leaderboards.comparing.records import conditions
from leaderboards.mt_bench import files
from leaderboards.session import Evaluation
from selfreward_bench import recipes
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError
from selfreward_bench.models.opening import Services
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, EvalResult

from ..scripted_server import Answer, Asked, Script, ScriptedServer, said, scripted_server
from .mt_bench.test_benchmark import PROMPTS, QUESTIONS, REFERENCES, write_lines
from .test_session import put, write_alpaca_data

TEXTS = [f"Tell me about thing {i}." for i in range(8)]
MT, ALPACA = "mt-bench@1", "alpaca-eval@1"


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("SRBENCH_DATA_DIR", "data")
    monkeypatch.setenv("SRBENCH_STORE", "responses.sqlite")
    write_alpaca_data(Path("data"), TEXTS)
    math_prompts = {
        name.replace("pair-v2", "pair-math-v1").replace("single-v1", "single-math-v1"): template
        + "{ref_answer_1}"
        + ("{ref_answer_2}" if "multi" in name else "")
        for name, template in PROMPTS.items()
    }
    lines = [{"name": n, "system_prompt": f"S {n}", "prompt_template": t} for n, t in (PROMPTS | math_prompts).items()]
    write_lines(Path("data") / files.QUESTIONS, QUESTIONS)
    write_lines(Path("data") / files.REFERENCES, REFERENCES)
    write_lines(Path("data") / files.PROMPTS, lines)


@pytest.fixture
def answers() -> Path:
    lines = [
        {"question_id": q["question_id"], "model_id": "mine", "choices": [{"index": 0, "turns": ["One.", "Two."]}]}
        for q in QUESTIONS
    ]
    return put(Path("mine.jsonl"), lines)


@pytest.fixture
def outputs() -> Path:
    answers = [f"Answer {i}. " * (1 + i % 3) for i in range(len(TEXTS))]
    rows = [{"instruction": t, "output": a, "generator": "mine"} for t, a in zip(TEXTS, answers, strict=True)]
    return put(Path("mine/model_outputs.json"), rows)


def settings(*changes: str) -> RunConfig:
    return recipes.load(None, ["name=eval", "threads=null", *changes])


def evaluate(what: object, server: ScriptedServer, benchmark: str, *changes: str, **options: Any) -> Evaluation:
    judge = f"openai:judge@{server.url}"
    options = {"judge": judge, "world": "real", "config": settings(*changes)} | options
    return leaderboards.evaluate([str(what)], benchmarks=[benchmark], **options)


def the_result(done: Evaluation) -> EvalResult:
    assert done.errors == ()
    (result,) = done.results
    return result


def grade(asked: Asked) -> Answer:
    return said("Fine. Rating: [[7]]")


def refuses(name: str, otherwise: Script = grade) -> Script:
    return lambda a: (400, {"error": {"message": f"{name} is not supported"}}) if name in a.body else otherwise(a)


def has_system(asked: Asked) -> bool:
    return any(m["role"] == "system" for m in asked.body["messages"])


# --- what a result says of how it was asked


def test_a_judge_without_a_system_role_and_the_result_says_so(answers: Path) -> None:
    def script(asked: Asked) -> Answer:
        return (400, {"message": "System role not supported", "code": 400}) if has_system(asked) else grade(asked)

    with scripted_server(script) as server:
        result = the_result(evaluate(answers, server, "mt-bench"))
        texts = {a.body["messages"][0]["content"].partition("\n\n")[0] for a in server.asked if not has_system(a)}
    assert texts == {"S single-v1", "S single-v1-multi-turn", "S single-math-v1", "S single-math-v1-multi-turn"}
    assert result.metrics["grade"].n_scored == 6
    assert result.comparability["request"] == "judge: system text in the user's turn"
    assert (result.judge or "").endswith("; asked with system text in the user's turn")


def test_what_one_benchmark_changed_is_not_said_of_another(answers: Path, outputs: Path) -> None:
    """They share the judge; the order they run in must not show in their keys."""

    def script(asked: Asked) -> Answer:
        if asked.body.get("temperature", 1) != 1:
            return 400, {"error": {"message": "'temperature' does not support 0. Only the default (1) is supported."}}
        top = [{"token": "m", "logprob": -0.2}, {"token": "M", "logprob": -2.0}]
        return said("m [[7]]", logprobs={"content": [{**top[0], "top_logprobs": top}]})

    with scripted_server(script) as server:
        judge = f"openai:judge@{server.url}"
        both = leaderboards.evaluate([str(answers), str(outputs)], benchmarks=["mt-bench", "alpaca-eval"], judge=judge)
    assert both.errors == ()
    by_key = {r.benchmark: r for r in both.results}
    assert by_key[MT].comparability["request"] == "judge: the server's temperature"
    assert "request" not in by_key[ALPACA].comparability


@pytest.mark.slow
def test_changes_are_kept_over_calls_and_make_results_unlike(answers: Path) -> None:
    """A call that was cut short left judgments behind; the one that finishes says of all how they were asked."""
    n_graded = 3

    def fails_later(asked: Asked) -> Answer:
        graded = [a for a in server.asked if "temperature" not in a.body]
        if "temperature" not in asked.body and len(graded) > n_graded:
            return 402, {"error": "no money"}
        return refuses("temperature")(asked)

    with scripted_server(fails_later) as server:
        first = evaluate(answers, server, "mt-bench", output=Path("one"), concurrency=1)
        assert "used up" in first.errors[0]
        n_graded = 100
        result = the_result(evaluate(answers, server, "mt-bench", output=Path("one"), concurrency=1))
        again = the_result(evaluate(answers, server, "mt-bench", output=Path("replayed"), replay=True))
        asked = len(server.asked)
    assert result.comparability["request"] == again.comparability["request"] == "judge: the server's temperature"
    assert asked == 1 + 4 + 1 + 3  # the refusal of each call's first, and the verdicts
    with scripted_server(grade) as server:
        plain = the_result(evaluate(answers, server, "mt-bench", output=Path("plain")))
    assert "request" not in plain.comparability


def test_a_candidates_request_is_part_of_the_key_too() -> None:
    def script(asked: Asked) -> Answer:
        return refuses("seed", lambda a: grade(a) if a.body["model"] == "judge" else said("Fine."))(asked)

    with scripted_server(script) as server:
        result = the_result(evaluate(f"openai:mine@{server.url}", server, "mt-bench"))
    assert result.comparability["request"] == "answers: no seed"
    assert "asked with" not in (result.judge or "")


def test_a_mixed_measurement_says_so_and_has_a_key_of_its_own(outputs: Path) -> None:
    top = [{"token": "m", "logprob": math.log(0.8)}, {"token": "M", "logprob": math.log(0.2)}]
    weighed = said("m", logprobs={"content": [{**top[0], "top_logprobs": top}]})
    found = {}
    for name, script in {
        "mixed": lambda a: weighed if "thing 1" in str(a.body) or "thing 2" in str(a.body) else said("m"),
        "words": lambda a: said("m"),
        "weighed": lambda a: weighed,
    }.items():
        with scripted_server(script) as server:
            found[name] = the_result(evaluate(outputs, server, "alpaca-eval", output=Path(name)))
    assert "text verdict for 6 verdicts and log-probabilities for 2 (" in (found["mixed"].judge or "")
    parameters = {name: result.comparability["parameters"] for name, result in found.items()}
    assert len(set(parameters.values())) == 3
    assert parameters["mixed"].startswith("log-probabilities and text verdict")


# --- judge.request


def test_how_a_judge_is_asked_is_a_setting_and_part_of_the_key(answers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_ROUTE", "s3cret-route")
    changes = ["judge.request.temperature=1", "judge.request.max_tokens=9000", "judge.request.seed=3"]
    changes += ["judge.request.extra_body={reasoning_effort: low}"]
    changes += ['judge.request.extra_headers={X-Route: "${MY_ROUTE}"}']
    with scripted_server(grade) as server:
        plain = the_result(evaluate(answers, server, "mt-bench", output=Path("plain")))
        plainly_asked = server.asked[0].body
        result = the_result(evaluate(answers, server, "mt-bench", *changes, output=Path("other")))
        asked = server.asked[-1]
    told = 'judge: temperature 1, 9000 tokens, seed 3, {"reasoning_effort": "low"}, headers X-Route'
    assert result.comparability["request"] == told
    assert asked.body.items() >= {"temperature": 1, "max_tokens": 9000, "seed": 3, "reasoning_effort": "low"}.items()
    assert asked.headers["x-route"] == "s3cret-route"
    assert result.config_hash != plain.config_hash
    assert result.comparability["snapshot"] != plain.comparability["snapshot"]
    assert plainly_asked.items() >= {"temperature": 0, "max_tokens": 2048}.items()
    assert not [p for p in Path().rglob("*") if p.is_file() and b"s3cret" in p.read_bytes()]


def test_results_without_such_settings_have_the_keys_they_always_had() -> None:
    """As the version before there were any made them."""
    services = Services(settings().engine)
    role = leaderboards.models.judge_role("openai:judge@http://127.0.0.1:9/v1#KEY", services)
    assert (role.name, role.request) == ("openai:judge@http://127.0.0.1:9/v1", "")
    assert role.snapshot == "served-c0e94f8b3ec89916ab46553a"
    assert RunConfig().judge.without_request().keys() == {"prompt", "mode", "samples", "min_mass", "sampling"}


def test_a_judge_with_a_name_of_its_own_is_the_same_judge_on_another_port(answers: Path) -> None:
    found = []
    for _ in range(2):
        with scripted_server(grade) as server:
            result = the_result(evaluate(answers, server, "mt-bench", "judge.request.name=my-judge"))
            found.append((result.config_hash, result.comparability, result.judge, len(server.asked)))
    assert found[0][:3] == found[1][:3]
    assert found[0][2] == "my-judge"
    assert (found[0][3], found[1][3]) == (6, 0)


@pytest.mark.parametrize("judge", ["self", "owner/name"])
def test_such_settings_for_a_judge_that_is_not_served_are_refused(judge: str) -> None:
    with scripted_server(grade) as server, pytest.raises(ConfigError, match=r"judge\.request says how a served judge"):
        evaluate(f"openai:m@{server.url}", server, "mt-bench", "judge.request.seed=1", judge=judge)


@pytest.fixture
def ranked() -> str:
    """People's ranks of two answers, as judge accuracy takes them."""
    responses = [{"text": "Good.", "rank": 0}, {"text": "Bad.", "rank": 1}]
    asked = [{"role": "user", "content": "Say something."}]
    write_lines(Path("ranked.jsonl"), [{"id": "a", "messages": asked, "responses": responses}])
    return "judge-accuracy-jsonl:ranked.jsonl"


def scores(asked: Asked) -> Answer:
    return said(f"Well. Score: {5 if 'Good.' in asked.body['messages'][-1]['content'] else 1}")


def test_a_served_model_that_is_measured_as_a_judge_is_asked_so(ranked: str) -> None:
    changes = ["judge.request.temperature=0.2", "judge.request.max_tokens=77"]
    with scripted_server(scores) as server:
        model = f"openai:m@{server.url}"
        plain = the_result(evaluate(model, server, ranked, judge=None))
        before = len(server.asked)
        result = the_result(evaluate(model, server, ranked, *changes, judge=None))
        bodies = [asked.body for asked in server.asked[before:]]
        again = the_result(evaluate(model, server, ranked, *changes, judge=None))
        candidates = leaderboards.session.parse_candidates([model])
        (planned,) = leaderboards.session.prepare(candidates, settings(*changes), benchmarks=[ranked]).plan()
    assert len(bodies) == before > 0
    assert {(b["temperature"], b["max_tokens"]) for b in bodies} == {(0.2, 77)}
    assert result.comparability["request"] == "judge: temperature 0.2, 77 tokens"
    assert "request" not in plain.comparability
    assert again == result
    assert plain.config_hash != result.config_hash
    assert planned.plan.judgments.completion_tokens == before * max(77, settings().judge.sampling.max_new_tokens)


@pytest.mark.slow
def test_so_is_one_on_the_micro_world_and_its_own_answers_are_asked_for_as_ever() -> None:
    script = refuses("seed", lambda a: said("Well. Score: 3"))
    changes = ["judge.request.max_tokens=77", "judge.request.seed=3", "eval.limit=2"]
    with scripted_server(script) as server:
        model, options = f"openai:m@{server.url}", {"judge": None, "world": "micro"}
        plain = the_result(evaluate(model, server, "judge-accuracy", changes[-1], **options))
        before = len(server.asked)
        result = the_result(evaluate(model, server, "judge-accuracy", *changes, **options))
        bodies = [asked.body for asked in server.asked[before:]]
    judged = [body for body in bodies if "Score:" in str(body["messages"])]
    assert {body["max_tokens"] for body in judged} == {77}
    assert {body["seed"] for body in judged if "seed" in body} == {3}
    assert not [body for body in bodies if body not in judged]  # the answers are there, out of the store
    assert result.comparability["request"] == "judge: 77 tokens, seed 3; answers: no seed; judge: no seed"
    assert plain.comparability["request"] == "answers: no seed"
    assert result.config_hash != plain.config_hash


def test_how_a_runs_own_judge_is_asked_does_not_refuse_a_local_one(ranked: str) -> None:
    rewards = ["judge.model=openai:j@http://127.0.0.1:9/v1", "judge.request.max_tokens=77"]
    with scripted_server(scores) as server:
        model = f"openai:m@{server.url}"
        the_result(evaluate(model, server, ranked, *rewards, judge="self"))
        bodies = [asked.body for asked in server.asked]
    assert {b["max_tokens"] for b in bodies} == {settings().judge.sampling.max_new_tokens}


def test_a_dry_run_counts_the_tokens_that_a_judge_may_take(answers: Path) -> None:
    def tokens(*changes: str) -> tuple[int, str]:
        config = settings(*changes)
        judge = "openai:judge@http://127.0.0.1:9/v1"
        candidates = leaderboards.session.parse_candidates([str(answers)])
        (planned,) = leaderboards.session.prepare(candidates, config, benchmarks=["mt-bench"], judge=judge).plan()
        return planned.plan.judgments.completion_tokens, planned.served[0][0]

    assert tokens() == (6 * 2048, "judge")
    assert tokens("judge.request.max_tokens=9000", "judge.request.name=named") == (6 * 9000, "judge")


# --- reasoning


def test_a_candidates_thinking_is_kept_apart() -> None:
    """Not shown to the judge, not in the second turn's history, not in its length; counted in its tokens."""

    def script(asked: Asked) -> Answer:
        if asked.body["model"] == "judge":
            return said("<think>Maybe [[2]]</think>Rating: [[9]]")
        return said("<think>SECRET thought</think>\n\nHello.", message={"reasoning_content": "SECRET too"})

    with scripted_server(script) as server:
        done = evaluate(f"openai:mine@{server.url}", server, "mt-bench")
        result = the_result(done)
        judged = [json.dumps(a.body["messages"]) for a in server.asked]
    assert "SECRET" not in "".join(judged)
    assert any('"Hello."' in text for text in judged)
    assert result.metrics["grade"].value == 9
    folder = done.root / "mine/eval" / MT
    kept = jsonl.read(folder / "turn-1.jsonl", Completion)
    assert {(c.text, c.thinking, c.n_tokens) for c in kept} == {("Hello.", "SECRET too\nSECRET thought", 10)}
    assert "SECRET" not in (folder / "scores.jsonl").read_text()
    assert "SECRET" not in "".join(p.read_text() for p in (folder / "fastchat").rglob("*.jsonl"))
    rows = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    assert {row["detail"]["measures"]["chars"] for row in rows} == {len("Hello.")}


def test_a_judge_that_thinks_is_asked_in_words_and_the_way_out_is_told(outputs: Path) -> None:
    """The first token is one of thinking: its log-probabilities say nothing of the verdict."""
    top = [{"token": "<think>", "logprob": -0.01}, {"token": "m", "logprob": -6.0}]

    def script(asked: Asked) -> Answer:
        if "logprobs" in asked.body:
            return said("", logprobs={"content": [{**top[0], "top_logprobs": top}]}, finish_reason="length")
        if asked.body["max_tokens"] < 100:
            return said("<think>Well", finish_reason="length")
        return said("<think>M is worse.\nM</think>\nm")

    reporter = Told()
    with scripted_server(script) as server:
        cut = the_result(evaluate(outputs, server, "alpaca-eval", output=Path("cut"), reporter=reporter))
        request = ("judge.request.max_tokens=4096",)
        whole = the_result(evaluate(outputs, server, "alpaca-eval", *request, output=Path("whole"), reporter=Told()))
    assert cut.metrics["win_rate"].n_scored == 0
    assert any("8 answers were cut off while thinking" in m and "judge.request" in m for m in reporter.messages)
    assert whole.metrics["win_rate"].n_scored == 8


class Told:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def started(self, stage: str, total: int | None, unit: str) -> None: ...

    def advanced(self, amount: int = 1) -> None: ...

    def finished(self, stage: str, counts: object, seconds: float, skipped: bool = False) -> None: ...

    def message(self, text: str) -> None:
        self.messages.append(text)


# --- reasons that settle


def test_what_moderation_refuses_is_asked_by_two_later_calls_and_the_rest_is_graded(answers: Path) -> None:
    def script(asked: Asked) -> Answer:
        if "Shorter" in json.dumps(asked.body["messages"]):
            return 403, {"error": {"code": 403, "message": 'Your input was flagged for "x".'}}
        return grade(asked)

    n_asked = []
    with scripted_server(script) as server:
        for _ in range(4):
            result = the_result(evaluate(answers, server, "mt-bench"))
            n_asked.append(len(server.asked))
    assert n_asked == [6, 7, 8, 8]
    assert (result.metrics["grade"].n_scored, result.incomplete) == (5, 0)


def test_a_prompt_that_is_too_long_is_settled(answers: Path) -> None:
    def script(asked: Asked) -> Answer:
        if asked.body["model"] == "judge":
            return grade(asked)
        if "heat" in json.dumps(asked.body["messages"]):
            return 400, {"error": {"message": "This model's maximum context length is 10 tokens."}}
        return said("Fine.")

    with scripted_server(script) as server:
        done = evaluate(f"openai:mine@{server.url}", server, "alpaca-eval")
        assert done.errors == ()
        done = evaluate(f"openai:mine@{server.url}", server, "mt-bench")
        result = the_result(done)
        reasons = done.samples(MT).reason.dropna().unique().tolist()
    assert reasons == ["too_long"]
    assert result.metrics["grade"].n_scored == 4
    assert result.incomplete == 0


def test_results_that_were_asked_otherwise_are_not_compared(outputs: Path) -> None:
    with scripted_server(lambda a: said("m")) as server:
        plain = the_result(evaluate(outputs, server, "alpaca-eval", output=Path("a")))
        same = the_result(evaluate(outputs, server, "alpaca-eval", output=Path("b")))
        other = the_result(evaluate(outputs, server, "alpaca-eval", "judge.request.seed=1", output=Path("c")))
    assert conditions(plain) == conditions(same) != conditions(other)
