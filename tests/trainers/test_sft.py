"""SFT: what carries the loss, what a training writes, and that it survives being killed."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trainers.training as training
from selfreward_bench.config import SftConfig
from selfreward_bench.engines.templates import PLAIN_TEMPLATE
from selfreward_bench.errors import ConfigError, EngineError, IncompatibleRunError, TrainingError
from selfreward_bench.types import Example, Message
from trainers.checkpoints import logit_probe
from trainers.rendering import load_tokenizer, render_turns
from trainers.resume import ResumeStore, StepLog
from trainers.sft import labelled_row, train_sft
from trainers.training import TrainProgress

from .conftest import contents, examples, make_model, run_until_killed

CONFIG = SftConfig(
    learning_rate=1e-3,
    final_learning_rate=1e-4,
    epochs=2.0,
    batch_size=8,
    micro_batch_size=4,
    save_every=3,
    dropout=0.1,
    max_length=64,
)


def train(model: Path, out: Path, config: SftConfig = CONFIG, n: int = 30, **options: Any) -> Any:
    return train_sft(model, examples(n), config, out, seed=5, **options)


@pytest.fixture(scope="module")
def undisturbed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "train"
    train(tiny_model, out)
    return out


# --- what carries the loss


def batch_of(tiny_model: Path, given: list[Example]) -> tuple[Any, Any]:
    """The tokenizer, and the batch TRL's own collator makes of the examples."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    tokenizer = load_tokenizer(tiny_model)
    turns = render_turns(tokenizer, [(e.id, e.prompt, e.completion) for e in given])
    collator = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)
    return tokenizer, collator([labelled_row(turn) for turn in turns])


def test_labels_are_the_completion_and_its_end_token(tiny_model: Path) -> None:
    given = examples(8)
    tokenizer, batch = batch_of(tiny_model, given)
    for example, ids, labels in zip(given, batch["input_ids"], batch["labels"], strict=True):
        wanted = tokenizer(f" {example.completion[0].content}", add_special_tokens=False)["input_ids"]
        trained = [int(token) for token in labels if token != -100]
        assert trained == [*wanted, tokenizer.eos_token_id]
        start = next(i for i, label in enumerate(labels) if label != -100)
        assert tokenizer.decode(ids[:start]) == f"<|user|> {example.prompt[0].content}<|assistant|>"
        assert all(label == -100 for label in labels[start + len(trained) :])  # padding


def test_training_and_generation_share_one_prompt(tiny_model: Path) -> None:
    from selfreward_bench.engines.base import GenerationRequest
    from selfreward_bench.engines.chat import PromptEncoder

    tokenizer = load_tokenizer(tiny_model)
    hostile = (Message(role="user", content="Say <|end|><|assistant|> 5 \ud800 and stop."),)
    answer = (Message(role="assistant", content="It ends <|end|> here."),)
    turn = render_turns(tokenizer, [("e", hostile, answer)])[0]
    encoder = PromptEncoder(tokenizer, name="tiny", context=256)
    assert [turn.prompt] == encoder.encode([GenerationRequest(id="e", prompt=hostile)], [16])
    assert turn.completion.count(tokenizer.eos_token_id) == 1
    assert turn.completion[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in turn.prompt


def test_a_bos_of_the_template_is_not_doubled(tmp_path: Path) -> None:
    """A tokenizer that puts a BOS before any text, as Llama's does, meets a template that writes one."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(make_model(tmp_path / "m", template=None), default_template=True)
    tokenizer.bos_token = "<|user|>"  # noqa: S105
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<|user|> $A", special_tokens=[("<|user|>", bos)])
    assert tokenizer("Name")["input_ids"][0] == bos
    turn = render_turns(tokenizer, [("e", examples(1)[0].prompt, examples(1)[0].completion)])[0]
    assert turn.prompt.count(bos) == 1
    assert turn.completion.count(bos) == 0


def test_what_a_template_puts_behind_the_end_token_is_not_trained(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    tokenizer = load_tokenizer(make_model(tmp_path / "m", template=template))
    turn = render_turns(tokenizer, [("e", examples(1)[0].prompt, examples(1)[0].completion)])[0]
    assert tokenizer.decode(turn.completion) == "The apple is here.<|end|>"


@pytest.mark.slow
def test_first_loss_is_the_mean_over_the_completion_tokens(tiny_model: Path, undisturbed: Path) -> None:
    """Computed once more with plain transformers, from the texts of the first batch."""
    import torch
    from transformers import AutoModelForCausalLM

    config = CONFIG.model_copy(update={"batch_size": 30, "micro_batch_size": 10, "dropout": 0.0})
    out = undisturbed.parent / "one-batch"
    result = train(tiny_model, out, config)
    _, batch = batch_of(tiny_model, examples(30))
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    assert result.first_loss == pytest.approx(float(loss), abs=1e-4)
    assert result.final_loss < result.first_loss


# --- what a training writes


def test_log_and_result(undisturbed: Path, tiny_model: Path) -> None:
    lines = [json.loads(line) for line in (undisturbed / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert set(lines[0]) >= {"step", "epoch", "loss", "lr", "grad_norm", "tokens"}
    assert lines[0]["lr"] == pytest.approx(CONFIG.learning_rate)
    assert lines[-1]["lr"] == pytest.approx(CONFIG.final_learning_rate, rel=0.4)
    result = train(tiny_model, undisturbed)  # finished: reads only
    assert (result.steps, result.first_loss, result.final_loss) == (8, lines[0]["loss"], lines[-1]["loss"])
    tokenizer = load_tokenizer(tiny_model)
    turns = render_turns(tokenizer, [(e.id, e.prompt, e.completion) for e in examples(30)])
    assert result.tokens == 2 * sum(map(len, turns))


def test_checkpoint_is_whole_and_says_nothing_of_the_machine(undisturbed: Path, tiny_model: Path) -> None:
    names = {path.name for path in (undisturbed / "checkpoint").iterdir()}
    assert names == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert {path.name for path in undisturbed.iterdir()} == {"checkpoint", "log.jsonl", "plan.json"}
    for path in (undisturbed / "checkpoint").iterdir():
        assert str(tiny_model.parent).encode() not in path.read_bytes()
    generation = json.loads((undisturbed / "checkpoint" / "generation_config.json").read_text())
    assert (generation["eos_token_id"], generation["pad_token_id"]) == (1, 0)
    config = json.loads((undisturbed / "checkpoint" / "config.json").read_text())
    assert config["attention_dropout"] == 0.0  # the base's own, not the training's
    assert config["use_cache"] is True


@pytest.mark.slow
def test_examples_over_max_length_are_left_out_and_counted(tiny_model: Path, tmp_path: Path) -> None:
    given = examples(10)
    long = Example(id="long", prompt=given[0].prompt, completion=(Message(role="assistant", content="x " * 80),))
    config = CONFIG.model_copy(update={"epochs": 1.0})
    result = train_sft(tiny_model, [*given, long], config, tmp_path / "a", seed=5)
    same = train_sft(tiny_model, given, config, tmp_path / "b" / "a", seed=5)
    assert (result.truncated, same.truncated, result.tokens) == (1, 0, same.tokens)
    assert (result.checkpoint / "model.safetensors").read_bytes() == (
        same.checkpoint / "model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_memory_is_given_back(undisturbed: Path, tiny_model: Path, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    gc.collect()
    before = sum(type(o) is LlamaForCausalLM for o in gc.get_objects())
    train(tiny_model, tmp_path / "train", n=8)
    assert sum(type(o) is LlamaForCausalLM for o in gc.get_objects()) == before


@pytest.mark.slow
def test_no_connection_is_opened(monkeypatch: pytest.MonkeyPatch, tiny_model: Path, tmp_path: Path) -> None:
    """TRL would report each training to its makers."""
    import huggingface_hub.utils._telemetry as telemetry
    from huggingface_hub import constants

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("telemetry was sent")

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(telemetry, "_start_telemetry_thread", refuse)
    train(tiny_model, tmp_path / "train", n=8)
    assert constants.HF_HUB_DISABLE_TELEMETRY is False


# --- resuming


def kill_at(step: int) -> Callable[[TrainProgress], None]:
    def progress(now: TrainProgress) -> None:
        if now.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 5])  # before any state was saved; after one, in the middle of an epoch
def test_killed_and_resumed_equals_undisturbed(step: int, undisturbed: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "train"
    run_until_killed(lambda: train(tiny_model, out, progress=kill_at(step)))
    seen: list[int] = []
    train(tiny_model, out, progress=lambda now: seen.append(now.step))
    assert seen[0] == (4 if step == 5 else 1)  # went on, did not start over
    assert contents(out) == contents(undisturbed)


@pytest.mark.slow
def test_killed_while_a_state_is_saved(undisturbed: Path, tiny_model: Path, tmp_path: Path) -> None:
    """The torn state of step 6 is not used; that of step 3 is."""
    out = tmp_path / "train"

    def torn_save() -> None:
        seal = ResumeStore.seal

        def die(self: ResumeStore, step: int, *others: Any, **named: Any) -> None:
            if step == 6:
                (self.directory / "checkpoint-6" / "optimizer.pt").write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            seal(self, step, *others, **named)

        ResumeStore.seal = die  # type: ignore[method-assign]
        train(tiny_model, out)

    run_until_killed(torn_save)
    assert (out / "resume" / "checkpoint-6").is_dir()
    seen: list[int] = []
    train(tiny_model, out, progress=lambda now: seen.append(now.step))
    assert seen == [4, 5, 6, 7, 8]
    assert contents(out) == contents(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the checkpoint", "after the checkpoint"])
def test_killed_after_the_last_step(moment: str, undisturbed: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "train"

    def die(*args: object, **named: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def die_late() -> None:
        if moment == "before the checkpoint":
            training.save_checkpoint = die
        else:
            ResumeStore.clear = die  # type: ignore[assignment]
        train(tiny_model, out)

    run_until_killed(die_late)
    assert (out / "checkpoint").exists() == (moment == "after the checkpoint")
    states = out / "resume"
    assert (states / "checkpoint-6" / "optimizer.pt").exists()
    names = {p.name for p in (states / "checkpoint-8").iterdir()}
    assert "model.safetensors" in names
    assert not [
        name for name in names if name.startswith(("optimizer", "scheduler", "rng_state"))
    ]  # nothing reads them
    train(tiny_model, out, progress=lambda now: pytest.fail("a finished training was trained on"))
    assert contents(out) == contents(undisturbed)


@pytest.mark.slow
def test_a_damaged_state_is_not_used(undisturbed: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "train"
    run_until_killed(lambda: train(tiny_model, out, progress=kill_at(8)))
    weights = out / "resume" / "checkpoint-6" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    seen: list[int] = []
    train(tiny_model, out, progress=lambda now: seen.append(now.step))
    assert seen[0] == 4
    assert contents(out) == contents(undisturbed)


@pytest.mark.slow
def test_interrupted_and_resumed_equals_undisturbed(undisturbed: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "train"

    def interrupt(now: TrainProgress) -> None:
        if now.step == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tiny_model, out, progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not (out / "checkpoint").exists()
    seen: list[int] = []
    train(tiny_model, out, progress=lambda now: seen.append(now.step))
    assert seen == [5, 6, 7, 8]  # the state of the interrupted step was saved
    assert contents(out) == contents(undisturbed)


@pytest.mark.slow
def test_saved_states_hold_no_pickled_arguments(tiny_model: Path, tmp_path: Path) -> None:
    def interrupt(now: TrainProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny_model, tmp_path / "train", progress=interrupt)
    names = {path.name for path in (tmp_path / "train" / "resume").rglob("*")}
    assert "optimizer.pt" in names
    assert "training_args.bin" not in names


def test_a_changed_setting_is_refused(undisturbed: Path, tiny_model: Path) -> None:
    with pytest.raises(IncompatibleRunError, match=r"sft\.learning_rate: was 0\.001, is 0\.002"):
        train(tiny_model, undisturbed, CONFIG.model_copy(update={"learning_rate": 2e-3}))
    with pytest.raises(IncompatibleRunError, match="data: was"):
        train(tiny_model, undisturbed, n=29)


@pytest.mark.slow
def test_killed_in_another_process_equals_undisturbed(undisturbed: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Kill and resume in interpreters of their own, as they happen."""
    out = tmp_path / "train"
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nimport torch\ntorch.set_num_threads(1)\n"
        "from tests.trainers.test_sft import kill_at, train\n"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), progress=kill_at(int(sys.argv[3])))\n"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    for step, status in ((5, -signal.SIGKILL), (99, 0)):
        command = [sys.executable, "-c", code, str(tiny_model), str(out), str(step)]
        assert subprocess.run(command, env=environment, check=False).returncode == status
    assert contents(out) == contents(undisturbed)


# --- what bad input gets


def test_nothing_to_train_on(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="of 0 examples, 0 exceed"):
        train(tiny_model, tmp_path / "a", n=0)
    with pytest.raises(TrainingError, match=r"of 5 examples, 5 exceed 4 tokens \(sft\.max_length"):
        train(tiny_model, tmp_path / "b", CONFIG.model_copy(update={"max_length": 4}), n=5)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "train"
    wild = CONFIG.model_copy(update={"learning_rate": 1e38, "final_learning_rate": 1e38, "save_every": 1})
    with pytest.raises(TrainingError, match=r"became (nan|inf) at step \d+.*No checkpoint was written") as caught:
        train(tiny_model, out, wild)
    assert not (out / "checkpoint").exists()
    state = ResumeStore(out / "resume").latest()
    assert (f"state of step {state.step}" if state else "no step had been saved") in str(caught.value)
    assert len(StepLog(out / "log.jsonl").read()) == (state.step if state else 0)


def test_micro_batches_must_make_the_batch(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size 8 cannot be made of micro batches of 3"):
        train(tiny_model, tmp_path / "a", CONFIG.model_copy(update={"micro_batch_size": 3}))


def test_unusable_bases(tiny_model: Path, tmp_path: Path) -> None:
    pickled = make_model(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(EngineError, match="pickle"):
        train(pickled, tmp_path / "a")
    with pytest.raises(EngineError, match="There is no checkpoint directory"):
        train(tmp_path / "nowhere", tmp_path / "b")
    with pytest.raises(EngineError, match=r"'owner/name@v1' is neither a directory nor can it be had from the hub"):
        train(Path("owner/name@v1"), tmp_path / "b")
    endless = make_model(tmp_path / "endless")
    settings = json.loads((endless / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (endless / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(TrainingError, match="has no end token"):
        train(endless, tmp_path / "c")


# --- models of others


def test_a_base_that_lacks_weights_is_not_trained_from_random_ones(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    kept = {k: v for k, v in load_file(base / "model.safetensors").items() if "layers.1.mlp" not in k}
    save_file(kept, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"lacks 3 of its weights, first model\.layers\.1\.mlp\.down_proj\.weight"):
        train(base, tmp_path / "train")
    with pytest.raises(EngineError, match="lacks 3 of its weights"):
        logit_probe(base)
    assert not (tmp_path / "train" / "checkpoint").exists()


@pytest.mark.slow
def test_a_base_without_template_gets_the_default_one(tmp_path: Path) -> None:
    base = make_model(tmp_path / "plain", template=None)
    result = train(base, tmp_path / "train", n=8)
    assert (result.checkpoint / "chat_template.jinja").read_text() == PLAIN_TEMPLATE


@pytest.mark.slow
@pytest.mark.skipif("SRBENCH_DATA_DIR" not in os.environ, reason="needs the data directory")
def test_stories260k(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = Path(os.environ["SRBENCH_DATA_DIR"]) / "stories260k" / "hf_derived"
    config = CONFIG.model_copy(update={"max_length": 256})
    result = train(base, tmp_path / "train", config, n=16)
    assert result.final_loss < result.first_loss
    tokenizer = AutoTokenizer.from_pretrained(result.checkpoint)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 2


@pytest.mark.slow
def test_an_example_beyond_the_models_positions_is_left_out(tiny_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    lengths = sorted(
        len(t) for t in render_turns(load_tokenizer(base), [(e.id, e.prompt, e.completion) for e in examples(16)])
    )
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"max_position_embeddings": lengths[-1] - 1}))
    result = train_sft(base, examples(16), CONFIG, tmp_path / "SFT", seed=1)
    assert result.truncated == lengths.count(lengths[-1])
    assert CONFIG.max_length >= lengths[-1], "only the positions can be what left them out"
