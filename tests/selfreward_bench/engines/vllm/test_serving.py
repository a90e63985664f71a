"""Which server serves a checkpoint: how one is started, and what is said where it cannot be."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import ChoiceRequest, GenerationRequest
from selfreward_bench.engines.processes import state_directory
from selfreward_bench.engines.transformers import open_transformers
from selfreward_bench.engines.vllm.serving import VARIABLE, command_line, problems
from selfreward_bench.errors import ConfigError, EngineError
from selfreward_bench.types import Message

REPOSITORY = Path(__file__).parents[4]
MICRO = REPOSITORY / "selfreward_bench" / "data" / "micro" / "base"
STAND_IN = f"{sys.executable} {REPOSITORY / 'tests' / 'vllm_server.py'}"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return state_directory()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps({"dtype": "bfloat16"}))
    return tmp_path / "base"


def adapter(base: Path, **settings: object) -> Path:
    directory = base.parent / "adapter"
    directory.mkdir()
    plain = {"peft_type": "LORA", "r": 12, "bias": "none", "base_model_name_or_path": str(base)}
    (directory / "adapter_config.json").write_text(json.dumps(plain | settings))
    return directory


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in is what the environment names."""
    monkeypatch.setenv(VARIABLE, STAND_IN)


@pytest.mark.slow
@pytest.mark.usefixtures("stand_in")
def test_a_server_is_started_answers_and_is_ended(state: Path) -> None:
    """The whole way, with the stand-in as the program: its texts are those of the transformers engine."""
    config = EngineConfig(kind="vllm", command=STAND_IN, args="--max-num-seqs 8")
    engine = open_engine(config, MICRO)
    request = GenerationRequest("q", (Message(role="user", content="Name three red things."),), seeds=(3,))
    choice = ChoiceRequest("c", "The sky is", (" blue", " green"))
    own = open_transformers(EngineConfig(), MICRO)
    assert list(engine.generate([request])) == list(own.generate([request]))
    (found,), (expected,) = next(engine.choice_logprobs([choice])), next(own.choice_logprobs([choice]))
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
    assert {file.suffix for file in state.iterdir()} == {".json", ".log"}
    engine.close()
    assert list(state.iterdir()) == []
    with pytest.raises(EngineError, match="was closed"):
        engine.generate([request])


@pytest.mark.slow
@pytest.mark.usefixtures("stand_in")
def test_arguments_put_no_other_model_in_its_place(state: Path, tmp_path: Path) -> None:
    """The last one counts: answers would be another model's, under this one's name."""
    shutil.copytree(MICRO, tmp_path / "other")
    with pytest.raises(EngineError, match=r"does not serve it\. Look at engine\.args"):
        open_engine(EngineConfig(kind="vllm", args=f"--model {tmp_path / 'other'}"), MICRO)
    assert list(state.iterdir()) == []


@pytest.mark.parametrize("args", ["--api-key secret", "--max-num-seqs 8 --api_key=secret"])
def test_arguments_hold_no_key(args: str) -> None:
    (found, *_) = problems(EngineConfig(kind="vllm", args=args))
    assert "VLLM_API_KEY" in found
    assert "secret" not in found


def test_a_program_that_fails_is_told_with_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{sys.executable} -c 'raise SystemExit(\"no vllm here\")'")
    with pytest.raises(EngineError, match=r"(?s)ended with exit code 1.*no vllm here"):
        open_engine(EngineConfig(kind="vllm"), MICRO)


@pytest.mark.parametrize("allowed", [None, "vllm serve", "sh -c 'touch other'"])
def test_a_recipe_starts_no_program_of_its_choice(
    allowed: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of somebody else may hold any command; it runs where the environment of this machine says the same."""
    monkeypatch.delenv(VARIABLE, raising=False)
    if allowed is not None:
        monkeypatch.setenv(VARIABLE, allowed)
    mark = tmp_path / "ran"
    config = EngineConfig(kind="vllm", command=f"touch {mark}")
    for open_it in (lambda: open_engine(config, MICRO), lambda: command_line(config, MICRO, 1)):
        with pytest.raises(ConfigError, match=rf"export {VARIABLE}='touch "):
            open_it()
    assert not mark.exists()


@pytest.mark.parametrize("args", ["--trust-remote-code", "--dtype auto --TRUST_remote_code=true"])
def test_arguments_let_no_model_run_code(args: str) -> None:
    (found, *_) = problems(EngineConfig(kind="vllm", args=args))
    assert "engine.trust_remote_code=true" in found
    assert not any("trust" in p for p in problems(EngineConfig(kind="vllm", args=args, trust_remote_code=True)))


def test_the_command_line_says_how_it_is_served(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's arguments overrule srbench's, but for where it listens."""
    line = command_line(EngineConfig(kind="vllm", args="--tensor-parallel-size 8 --dtype float16"), checkpoint, 8123)
    assert line[:3] == ["vllm", "serve", str(checkpoint)]
    assert line[line.index("--dtype") + 1] == "bfloat16"
    assert line[-10:-6] == ["--tensor-parallel-size", "8", "--dtype", "float16"]
    assert line[-6:] == ["--served-model-name", "model", "--host", "127.0.0.1", "--port", "8123"]
    assert line[line.index("--generation-config") + 1] == "vllm"
    monkeypatch.setenv(VARIABLE, "py -m vllm")
    module = command_line(EngineConfig(kind="vllm", dtype="float32"), checkpoint, 1)
    assert module[:5] == ["py", "-m", "vllm", "--model", str(checkpoint)]
    assert module[module.index("--dtype") + 1] == "float32"


def test_an_adapter_is_served_over_its_base(checkpoint: Path) -> None:
    directory = adapter(checkpoint)
    line = command_line(EngineConfig(kind="vllm"), directory, 1)
    assert line[2] == str(checkpoint)
    assert line[line.index("--max-lora-rank") + 1] == "16"
    assert json.loads(line[line.index("--lora-modules") + 1]) == {"name": "adapter", "path": str(directory)}


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"use_dora": True}, "with use_dora"),
        ({"modules_to_save": ["lm_head"]}, "with modules_to_save"),
        ({"alpha_pattern": {"q_proj": 3}}, "with alpha_pattern"),
        ({"bias": "all"}, "with bias"),
        ({"r": 1000}, "of rank 1000"),
    ],
)
def test_an_adapter_that_vllm_applies_otherwise_is_refused(
    checkpoint: Path, settings: dict[str, object], match: str
) -> None:
    with pytest.raises(EngineError, match=f"{match}, which vLLM does not serve. Merge it"):
        command_line(EngineConfig(kind="vllm"), adapter(checkpoint, **settings), 1)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"here": "/no/such/vllm serve"}, "there is no program '/no/such/vllm'"),
        ({"here": "/no/such/vllm serve", "command": "/no/such/vllm serve"}, "there is no program '/no/such/vllm'"),
        ({"here": "", "command": ""}, "there is no program ''"),
        ({"command": "'vllm"}, "engine.command: .* is no command line"),
        ({"here": "'vllm"}, f"{VARIABLE}: .* is no command line"),
        ({"command": STAND_IN, "args": "'"}, "engine.args: .* is no command line"),
        ({"command": STAND_IN, "device": "cuda:1"}, "engine.device=cuda:1"),
        ({"command": STAND_IN, "quantize": "nf4"}, "engine.quantize=nf4"),
        ({"urls": ("ftp://host",)}, "engine.urls"),
    ],
)
def test_what_cannot_work_is_known_before_any_work(
    changes: dict[str, object], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``here`` is what the environment names."""
    monkeypatch.setenv(VARIABLE, str(changes.get("here", STAND_IN)))
    config = EngineConfig.model_validate({"kind": "vllm", **{k: v for k, v in changes.items() if k != "here"}})
    (found,) = problems(config)
    with pytest.raises(ConfigError, match=match) as caught:
        open_engine(config, MICRO)
    assert str(caught.value) == found
