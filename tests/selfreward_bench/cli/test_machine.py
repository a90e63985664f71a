"""`--json`: one object a command, of the documented shape, that steers no terminal and holds no key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from leaderboards.evaluation import Evaluation
from selfreward_bench import __version__
from selfreward_bench.cli import diagnosis, machine
from selfreward_bench.engines.served import secrets
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import EvalResult, Metric

from .conftest import Cli, mark_done

ROOT = Path(__file__).parents[3]
_SECTION = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8").partition("## What `--json` prints")[2]
#: command -> its keys, as documented
KEYS = {
    command: set(re.findall(r"`(\w+)`", keys))
    for command, keys in re.findall(r"^\| `(.+?)` \| (.+) \|$", _SECTION, re.M)
}


def printed(cli: Cli, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """What a command prints, of the documented shape."""
    done = cli(*arguments, "--json")
    assert done.exit_code == code, done.output
    assert done.stdout.isascii()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout)
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["format"], found["srbench"]) == (1, __version__)
    assert found.keys() - {"format", "srbench", "command"} == KEYS[found["command"]]
    return found


def described(command: str) -> set[str]:
    """Every word in code font that the documentation of a command holds."""
    line = next(x for x in _SECTION.splitlines() if x.startswith(f"- `{command}`"))
    return set(re.findall(r"`([\w ]+)`", line))


def test_all_commands_of_the_documentation_are_tried() -> None:
    assert set(KEYS) == {
        *("status", "doctor", "recipes", "recipes NAME", "data status", "data pull --dry-run"),
        *("run-iteration --dry-run", "eval", "eval --dry-run"),
    }


def test_status(cli: Cli) -> None:
    cli("init", "a")
    run = RunDir.open(Path("a"))
    mark_done(run, "M1/ift", {"examples": 3200}, seconds=125)
    run.stage("M2/candidates", {}, {})
    (run.path / "M2/completions.jsonl").write_text("{}\n" * 7, encoding="utf-8")
    found = printed(cli, "status", "a")
    assert (found["run"], found["recipe"], found["next"], found["forked_from"]) == ("a", "micro", "M1", None)
    stages = {s["name"]: s for s in found["stages"]}
    assert stages["M1/ift"] == {
        "name": "M1/ift",
        "state": "done",
        "unit": stages["M1/ift"]["unit"],
        "seconds": 125.0,
        "resumed": False,
        "counts": {"examples": 3200},
        "made": None,
    }
    assert (stages["M2/candidates"]["state"], stages["M2/candidates"]["made"]) == ("partial", 7)
    assert stages["M1/ift"].keys() <= described("status")


def test_doctor(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "CHECKS", (lambda: iter([diagnosis.Finding("fail", "x\x1b[31m", "\u202eé")]),))
    found = printed(cli, "doctor", code=1)
    assert (found["failed"], found["findings"]) == (1, [{"state": "fail", "what": "x\x1b[31m", "detail": "\u202eé"}])


def test_recipes(cli: Cli) -> None:
    listed = printed(cli, "recipes")["recipes"]
    assert {"micro", "paper-70b"} <= {r["name"] for r in listed}
    assert all(r["about"] for r in listed)
    assert printed(cli, "recipes", "micro")["settings"]["dpo"]["beta"] > 0
    assert cli("recipes", "--json", "--schema").exit_code == 2


def test_data(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRBENCH_DATA_DIR", "data")
    found = printed(cli, "data", "status")
    assert not found["present"]
    assert {s["state"] for s in found["sets"]} == {"missing"}
    assert found["sets"][0].keys() <= described("data status")
    plan = printed(cli, "data", "pull", "alpaca-eval", "--dry-run")
    assert plan["bytes"] == sum(f["bytes"] for f in plan["to_get"]) > 0
    assert plan["sets"][0].keys() <= described("data pull --dry-run") | {"name"}
    assert cli("data", "pull", "alpaca-eval", "--json").exit_code == 2


def test_data_that_differ(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRBENCH_DATA_DIR", "data")
    path = Path("data") / printed(cli, "data", "pull", "alpaca-eval", "--dry-run")["to_get"][0]["path"]
    path.parent.mkdir(parents=True)
    path.write_text("x", encoding="utf-8")
    found = printed(cli, "data", "status", "--verify", code=1)
    assert [s["differing"] for s in found["sets"] if s["differing"]] == [[str(path.relative_to("data"))]]


def test_a_dry_run_of_training(cli: Cli, quick: Any, seed_data: list[str]) -> None:
    found = printed(cli, "run-iteration", "a", "--dry-run", "--until", "M2", *seed_data)
    assert not Path("a").exists()
    stages = {s["name"]: s for s in found["stages"]}
    assert (stages["M2/candidates"]["work"], stages["M2/candidates"]["unit"]) == (6000, "generations")
    assert stages["M2/candidates"].keys() <= described("run-iteration --dry-run") | {"work_is_exact"}
    assert found["needs"]["dimensions"]["parameters"] > 0
    assert cli("run-iteration", "a", "--json").exit_code == 2


def test_an_evaluation(cli: Cli, two_results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = EvalResult(
        checkpoint="M2\x1b]0;x\x07",
        fingerprint="f",
        benchmark="micro-quality@1",
        judge=None,
        metrics={"quality_sampled": Metric(value=float("nan"), n_scored=9, n_total=10)},
        config_hash="c",
        versions={},
        seconds=1.0,
    )
    done = Evaluation(two_results, (result,), ("one failed",))
    monkeypatch.setattr("leaderboards.session.Session.run", lambda *_: done)
    monkeypatch.setattr("selfreward_bench.cli.scoring.models_to_evaluate", lambda *_: ["M2"])
    found = printed(cli, "eval", "--run", two_results, code=2)
    assert (found["errors"], found["head_to_head"]) == (["one failed"], None)
    assert found["results"][0]["metrics"]["quality_sampled"]["value"] is None
    assert Path(found["report"]).is_file()


def test_a_dry_run_of_an_evaluation(cli: Cli, tmp_path: Path) -> None:
    from selfreward_bench.micro import base_path

    found = printed(cli, "eval", "--checkpoint", base_path(), "--benchmarks", "quality", "--dry-run")
    (row,) = found["planned"]
    assert (row["benchmark"], row["state"], row["problem"]) == ("micro-quality@1", "to do", None)
    assert row["answers"]["calls"] > 0
    assert row.keys() <= described("eval --dry-run")


def test_keys_are_taken_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_redactor", secrets._redactor)
    secrets.remember("sk-very-secret-0123456789")
    machine.emit("status", judge="openai:x@https://h/?k=sk-very-secret-0123456789", rate=float("inf"))
    out = capsys.readouterr().out
    assert "very-secret" not in out
    assert json.loads(out)["rate"] is None
