"""A round in small on bases of real kinds: what passes, what is refused in which words, and that nothing is left."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfreward_bench import recipes
from selfreward_bench.bases.findings import Finding
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import EngineError
from selfreward_bench.micro import base_path
from selfreward_bench.progress import Silent
from selfreward_bench.storage.rundir import RunDir
from trainers import examination, isolation
from trainers.description import describe
from trainers.examination import CheckRecord, examine_base, examine_run, kept_description
from trainers.preflight import STEPS, preflight

from .. import small_models as small


def configured(base: Path, *changes: str) -> RunConfig:
    few = ["seeds.ift_size=60", "seeds.eft_size=60"]  # seed data is counted
    return recipes.load("micro", [f"base={json.dumps(str(base))}", *few, *changes])


def fly(base: Path, room: Path, *changes: str) -> list[Finding]:
    return preflight(base, configured(base, *changes), room / "preflight")[0]


def refusals(findings: list[Finding]) -> list[str]:
    return [f.text for f in findings if f.severity == "refusal"]


#: one of each way to name and to join the layers that an adapter goes to
ADAPTED = ("llama", "gpt2", "phi3", "gemma3", "granitemoe", "mamba")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # transformers' own deprecations differ between architectures
def test_a_round_in_small_passes_and_leaves_nothing(tmp_path: Path) -> None:
    """Of every kind of base in ``test_matrix``, as the first stage of a run."""
    steps: list[None] = []
    base = small.make("llama", tmp_path / "llama")
    found, measured = preflight(base, configured(base), tmp_path / "preflight", lambda: steps.append(None))
    assert refusals(found) == []
    assert [f for f in found if f.severity == "warning"] == []
    assert len(steps) == STEPS
    assert 0 < measured["mass"] < 1
    assert [p.name for p in tmp_path.iterdir()] == ["llama"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "merge"), [*((kind, True) for kind in ADAPTED), ("qwen2", False), ("olmoe", False)])
def test_with_an_adapter_too(tmp_path: Path, kind: str, merge: bool) -> None:
    base = small.make(kind, tmp_path / kind)
    found = fly(base, tmp_path, f"lora={{r: 4, merge: {str(merge).lower()}}}")
    if kind == "mamba":
        (text,) = refusals(found)
        assert "'out_proj' is incompatible with Mamba" in text
        assert "Its linear layers are dt_proj, in_proj, out_proj, x_proj." in text
        found = fly(base, tmp_path, "lora={r: 4, targets: [in_proj, x_proj]}")
    assert refusals(found) == []


@pytest.mark.slow
def test_the_embedded_base_passes_and_grades(tmp_path: Path) -> None:
    config = recipes.load("micro")
    found, measured = preflight(base_path(), config, tmp_path / "preflight")
    assert refusals(found) == []
    assert measured["mass"] > 0.9
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_models_that_no_server_serves_are_trained_and_not_asked(tmp_path: Path) -> None:
    base = small.make("llama", tmp_path / "base")
    found = fly(base, tmp_path, "engine={kind: vllm, urls: ['http://127.0.0.1:1']}")
    assert refusals(found) == []
    (told,) = [f.text for f in found if "engine.urls" in f.text]
    assert "trained and not asked" in told


@pytest.mark.slow
@pytest.mark.usefixtures("launched_here")
def test_trainings_are_tried_as_they_will_be_launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []
    launch = isolation.launched

    def launched(task: Any, command: list[str], *others: Any) -> Any:
        tried.append((task.kind, task.train.sharding, command[1:5]))
        return launch(task, command, *others)

    monkeypatch.setattr(isolation, "launched", launched)
    sharded = 'train={launch: "torchrun --nproc-per-node 2", sharding: fsdp}'
    assert refusals(fly(small.make("llama", tmp_path / "base"), tmp_path, sharded)) == []
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    assert tried == [("sft", "fsdp", command), ("dpo", "fsdp", command)]


@pytest.mark.slow
def test_processes_that_say_nothing_and_then_fail_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = f"{sys.executable} -c 'import time; time.sleep(1); print(\"no such device\\nat all\"); exit(3)'"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SRBENCH_LAUNCH", failing)
    monkeypatch.setattr("trainers.launched._QUIET", 0.2)
    base, told = small.make("llama", tmp_path / "base"), list[str]()
    config = configured(base, f"train.launch={json.dumps(failing)}")
    (text,) = refusals(preflight(base, config, tmp_path / "preflight", tell=told.append)[0])
    assert text == (
        "LlamaForCausalLM fails at one step of SFT: The launched training ended with exit code 3 and without a result "
        "(was a process killed, or out of memory?). The end of its log: no such device at all"
    )
    (quiet,) = told
    assert quiet.startswith("Nothing is heard of the training's processes since 0.2 s")


def test_a_model_that_sees_later_tokens_is_refused(tmp_path: Path) -> None:
    """Its name and its files say that it is a causal language model."""
    tokenizer = small.llama3()
    base = small.model_of("Bert", tokenizer, head="BertLMHeadModel", pad_token_id=0)
    directory = small.save(tmp_path / "base", base, tokenizer)
    (text,) = refusals(fly(directory, tmp_path))
    assert text.startswith("BertLMHeadModel sees later tokens")


@pytest.mark.slow
def test_what_a_library_cannot_do_becomes_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("The size of tensor a (44) must match\nthe size of tensor b (60)")

    monkeypatch.setattr("trainers.preflight.run_training", fail)
    base = small.make("llama", tmp_path / "base")
    (text,) = refusals(fly(base, tmp_path))
    fault = "RuntimeError: The size of tensor a (44) must match"
    assert text == f"LlamaForCausalLM fails at one step of SFT, in a library: {fault}"
    assert [p.name for p in tmp_path.iterdir()] == ["base"]


@pytest.mark.slow
def test_an_interruption_stops_it_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainers.preflight.run_training", interrupt)
    base = small.make("llama", tmp_path / "base")
    with pytest.raises(KeyboardInterrupt):
        fly(base, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["base"]


def test_a_model_whose_output_trl_does_not_compute_is_refused(tmp_path: Path) -> None:
    tokenizer = small.llama3()
    base = small.model_of("Bert", tokenizer, head="BertLMHeadModel", pad_token_id=0, is_decoder=True)
    directory = small.save(tmp_path / "base", base, tokenizer)
    (text,) = refusals(fly(directory, tmp_path))
    assert text.startswith("TRL cannot train BertLMHeadModel: it takes the output matrix for all that follows")


@pytest.mark.slow
def test_a_cache_that_does_not_suit_the_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def error(loaded: Any, tokens: int) -> float:
        lengths.append(tokens)
        return 0.5 if tokens > 32 else 0.0

    monkeypatch.setattr("selfreward_bench.engines.agreement.cache_error", error)
    base = small.make("mistral", tmp_path / "base")
    (text,) = refusals(fly(base, tmp_path))
    assert "At 48 tokens the engine's way of caching changes the logits by 0.5 of the largest" in text
    assert lengths == [16, 48]  # a short text, and one beyond the window of 32
    assert refusals(fly(base, tmp_path, "engine.dtype=bfloat16")) == []


@pytest.mark.slow
def test_training_that_changes_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.preflight._RATE", 1e-30)
    (text,) = refusals(fly(small.make("llama", tmp_path / "base"), tmp_path))
    assert text == "A step of SFT leaves the weights of LlamaForCausalLM as they are."


@pytest.mark.slow
def test_a_base_in_bfloat16_and_a_small_rate_pass(tmp_path: Path) -> None:
    import torch

    tokenizer = small.llama3()
    base = small.save(tmp_path / "base", small.model_of("Llama", tokenizer).to(torch.bfloat16), tokenizer)
    assert refusals(fly(base, tmp_path, "sft.learning_rate=1e-7", "sft.final_learning_rate=1e-8")) == []


def test_what_a_launcher_left_in_the_environment_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    monkeypatch.setattr(examination, "preflight", lambda *_: seen.append(os.environ.get("WORLD_SIZE")) or ([], {}))
    monkeypatch.setenv("WORLD_SIZE", "2")
    examine_base(configured(small.make("llama", tmp_path / "base")))
    assert (seen, os.environ["WORLD_SIZE"]) == ([None], "2")


# --- the examination of a run


class Told(Silent):
    def __init__(self) -> None:
        self.skipped: list[bool] = []
        self.messages: list[str] = []

    def finished(self, stage: str, counts: Any, seconds: float, skipped: bool = False) -> None:
        assert stage == "M0/check"
        self.skipped.append(skipped)

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def flights(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The bases that a preflight was asked for; none is made."""
    asked: list[Path] = []

    def record(base: Path, *_: Any) -> tuple[list[Finding], dict[str, float]]:
        asked.append(base)
        return [], {"mass": 0.5}

    monkeypatch.setattr(examination, "preflight", record)
    return asked


@pytest.mark.slow
def test_a_run_keeps_what_was_found_and_is_not_examined_twice(tmp_path: Path, flights: list[Path]) -> None:
    base = small.make("mamba", tmp_path / "base")
    run, told = RunDir.create(tmp_path / "run", configured(base)), Told()
    examine_run(run, base, reporter=told)
    kept = (run.path / "check.json").read_bytes()
    record = CheckRecord.model_validate_json(kept)
    assert record.measured == {"mass": 0.5}
    assert record.examination.facts["architecture"] == "MambaForCausalLM"
    assert len(told.messages) == 1
    assert "takes no cache" in told.messages[0]
    examine_run(run, base, reporter=told)
    assert (told.skipped, len(flights)) == ([False, True], 1)
    assert (run.path / "check.json").read_bytes() == kept


@pytest.mark.slow
def test_a_run_knows_its_size_without_counting_again(tmp_path: Path, flights: list[Path]) -> None:
    base = small.make("llama", tmp_path / "base")
    run = RunDir.create(tmp_path / "run", configured(base))
    assert kept_description(run) is None
    examine_run(run, base, reporter=Told())
    assert kept_description(run) == describe(run.config)
    assert kept_description(RunDir(run.path, recipes.change(run.config, ["eval.limit=3"]))) is not None
    assert kept_description(RunDir(run.path, recipes.change(run.config, ["judge.samples=5"]))) is None
    small.rename_weights(base, lambda name: f"other.{name}")
    assert kept_description(run) is None


@pytest.mark.slow
@pytest.mark.parametrize("change", ["template", "own template", "settings", "weights", "record", "static"])
def test_what_changes_is_examined_again(tmp_path: Path, flights: list[Path], change: str) -> None:
    base = small.make("llama", tmp_path / "base")
    (tmp_path / "own.jinja").write_text(small.LLAMA3)
    named = [f"chat_template={tmp_path / 'own.jinja'}"] if change == "own template" else []
    run, told = RunDir.create(tmp_path / "run", configured(base, *named)), Told()
    examine_run(run, base, flight=change != "static", reporter=told)
    if change == "template":
        (base / "chat_template.jinja").write_text(small.LLAMA3 + "\n")
    elif change == "own template":
        (tmp_path / "own.jinja").write_text(small.LLAMA3 + "\n")
    elif change == "settings":
        run.config = configured(base, "dpo.beta=0.2")
    elif change == "weights":
        (base / "model.safetensors").unlink()
        small.model_of("Llama", small.llama3()).half().save_pretrained(base)
    elif change == "record":
        (run.path / "check.json").write_text('{"identity"')
    examine_run(run, base, reporter=told)
    assert told.skipped == [False, False]
    run.config = run.config.model_copy(update={"eval": run.config.eval.model_copy(update={"limit": 3})})
    run.config = recipes.change(run.config, ["cluster.replicas=4", "engine.start_timeout=9"])
    examine_run(run, base, reporter=told)  # the evaluation's settings do not count, nor those of replicas
    assert told.skipped == [False, False, True]


def test_a_refusal_is_kept_and_tried_again(tmp_path: Path, flights: list[Path]) -> None:
    base = small.make("llama", tmp_path / "base")
    small.rename_weights(base, lambda n: None if "layers.1.mlp" in n else n)
    run, told = RunDir.create(tmp_path / "run", configured(base)), Told()
    for _ in range(2):
        with pytest.raises(EngineError, match=r"cannot be used: It lacks 3 of its weights"):
            examine_run(run, base, reporter=told)
    assert (told.skipped, flights) == ([], [])
    assert CheckRecord.model_validate_json((run.path / "check.json").read_bytes()).examination.refused


@pytest.mark.slow
def test_a_full_disk_is_told(tmp_path: Path, flights: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    base = small.make("llama", tmp_path / "base")
    run, told = RunDir.create(tmp_path / "run", configured(base)), Told()
    monkeypatch.setattr("trainers.examination.shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    examine_run(run, base, reporter=told)
    assert any("two saved states take about" in text for text in told.messages)


# --- any small base: refused from its files, or trained without a fault

TEMPLATES = {
    "llama3": small.LLAMA3,
    "chatml": small.CHATML,
    "strict": small.MISTRAL.replace("{{ bos_token }}", ""),
    "thoughtless": small.R1,
    "none": None,
    "lost": "{% for m in messages %}{{ m['role'] }}{% endfor %}",
}


@st.composite
def bases(draw: Callable[..., Any]) -> dict[str, Any]:
    return {
        "kind": draw(st.sampled_from(["Llama", "Qwen2", "Gemma2", "GPT2"])),
        "surplus": draw(st.sampled_from([-1, 0, 0, 0, 24])),
        "pad": draw(st.sampled_from(["none", "end", "new", "beyond"])),
        "end": draw(st.sampled_from(["own", "list", "beyond", "missing"])),
        "tied": draw(st.booleans()),
        "template": draw(st.sampled_from(sorted(TEMPLATES))),
        "generation": draw(st.sampled_from([{}, {"temperature": 0.6, "do_sample": True}, {"temperature": 0.6}])),
    }


def build(drawn: dict[str, Any], directory: Path) -> Path:
    tokenizer = small.llama3(TEMPLATES[drawn["template"]])
    if drawn["pad"] == "new":
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    elif drawn["pad"] == "end":
        tokenizer.pad_token = tokenizer.eos_token
    shape = small.KINDS["gpt2" if drawn["kind"] == "GPT2" else "gemma2" if drawn["kind"] == "Gemma2" else "llama"][2]
    changes = shape | {"vocab_size": len(tokenizer) + drawn["surplus"], "tie_word_embeddings": drawn["tied"]}
    changes |= {"pad_token_id": 0, "eos_token_id": tokenizer.eos_token_id}
    base = small.save(directory, small.model_of(drawn["kind"], tokenizer, **changes), tokenizer)
    ends = {"own": 5, "list": [1, 5], "beyond": [5, 9999], "missing": None}[drawn["end"]]
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": ends, **drawn["generation"]}))
    if drawn["pad"] == "beyond":
        small.edit(base / "config.json", pad_token_id=9999)
    if drawn["end"] == "missing":
        small.edit(base / "tokenizer_config.json", eos_token=None)
    return base


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # as above
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=bases())
def test_any_small_base_is_refused_from_its_files_or_trains(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, Any]
) -> None:
    base = build(drawn, tmp_path_factory.mktemp("drawn") / "base")
    config = configured(base, "prompts.writer=current")
    if not examine_base(config, flight=False).refused:
        assert refusals(list(examine_base(config).findings)) == [], drawn
