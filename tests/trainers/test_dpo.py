"""DPO: the loss is the one that is meant, the reference is the first policy, and a killed training ends the same."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import trainers.dpo as dpo
from selfreward_bench.config import DpoConfig, SftConfig
from selfreward_bench.errors import DataError, LoopViolation, TrainingError
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Message, PreferencePair
from trainers.checkpoints import read_card
from trainers.dpo import ReferenceLogps, check_first_step, train_dpo
from trainers.rendering import load_tokenizer, render_turns
from trainers.resume import ResumeStore
from trainers.sft import train_sft
from trainers.token_pairs import distinct, render_pairs
from trainers.training import TrainProgress

from .conftest import CHAT_TEMPLATE, contents, examples, make_model, pairs, run_until_killed

CONFIG = DpoConfig(
    beta=0.5,
    nll_weight=0.3,
    learning_rate=1e-3,
    final_learning_rate=1e-4,
    epochs=2.0,
    batch_size=8,
    save_every=3,
    max_length=64,
)


def train(policy: Path, out: Path, config: DpoConfig = CONFIG, n: int = 30, **options: Any) -> Any:
    return train_dpo(policy, pairs(n), config, out, seed=5, **options)


@pytest.fixture(scope="module")
def undisturbed(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "train"
    train(policy, out)
    return out


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def answer_logps(model_directory: Path, completion: str, n: int) -> list[tuple[float, int]]:
    """Log-probability and length of each pair's answer, computed with plain transformers, one at a time."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(model_directory)
    model = AutoModelForCausalLM.from_pretrained(model_directory, dtype="float32").eval()
    turns = render_turns(tokenizer, [(p.id, p.prompt, getattr(p, completion)) for p in pairs(n)])
    found = []
    for turn in turns:
        ids = torch.tensor([turn.prompt + turn.completion])
        with torch.no_grad():
            logps = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        picked = logps.gather(1, ids[0, 1:, None])[len(turn.prompt) - 1 :]
        found.append((float(picked.sum()), len(turn.completion)))
    return found


# --- the loss


@pytest.mark.slow
def test_it_starts_at_ln_2_and_learns(undisturbed: Path, policy: Path) -> None:
    result = train(policy, undisturbed)
    check_first_step(result)
    assert result.first_dpo_loss == pytest.approx(math.log(2), abs=1e-6)
    log = lines(undisturbed)
    assert log[0]["rewards/margins"] == pytest.approx(0, abs=1e-5)
    second_epoch = log[4:]
    assert sum(line["rewards/margins"] for line in second_epoch) / 4 > 0.1
    assert sum(line["dpo_loss"] for line in second_epoch) / 4 < math.log(2)
    wanted = {"step", "epoch", "loss", "lr", "grad_norm", "tokens", "dpo_loss"}
    wanted |= {f"rewards/{k}" for k in ("chosen", "rejected", "margins", "accuracies")}
    wanted |= {f"{k}/{which}" for k in ("logps", "length") for which in ("chosen", "rejected")}
    assert set(log[0]) >= wanted


def test_reference_is_the_policy_before_training(undisturbed: Path, policy: Path) -> None:
    kept = jsonl.read(undisturbed / "reference.jsonl", ReferenceLogps)
    assert [r.id for r in kept] == [p.id for p in pairs(30)]
    for side, field in (("chosen", "chosen_logp"), ("rejected", "rejected_logp")):
        expected = [logp for logp, _ in answer_logps(policy, side, 30)]
        assert [getattr(r, field) for r in kept] == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_loss_is_the_sigmoid_loss_plus_the_weighted_mean_per_chosen_token(policy: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"batch_size": 30, "epochs": 1.0})
    first = train(policy, tmp_path / "train", config).first_step
    chosen = answer_logps(policy, "chosen", 30)
    nll = -sum(logp for logp, _ in chosen) / sum(length for _, length in chosen)
    assert first["loss"] == pytest.approx(math.log(2) + config.nll_weight * nll, abs=1e-3)
    assert first["length/chosen"] == pytest.approx(sum(length for _, length in chosen) / 30)
    assert first["logps/chosen"] == pytest.approx(sum(logp for logp, _ in chosen) / 30, abs=1e-3)


@pytest.mark.slow
def test_logged_preference_term_is_trls_own_loss(policy: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"nll_weight": 0.0, "epochs": 1.0, "micro_batch_size": 4})
    train(policy, tmp_path / "train", config)
    for line in lines(tmp_path / "train"):
        assert line["loss"] == pytest.approx(line["dpo_loss"], abs=1e-5)


@pytest.mark.slow
def test_a_wrong_reference_is_found_out(policy: Path, tmp_path: Path, undisturbed: Path) -> None:
    """Wrong by as much up as down, so that its mean is right and only the single pairs are not."""
    out = tmp_path / "train"
    kept = jsonl.read(undisturbed / "reference.jsonl", ReferenceLogps)
    wrong = [r.model_copy(update={"chosen_logp": r.chosen_logp + (-3) ** (i % 2)}) for i, r in enumerate(kept)]
    jsonl.write(out / "reference.jsonl", wrong)
    result = train(policy, out)
    with pytest.raises(LoopViolation, match="not ln 2"):
        check_first_step(result)
    with pytest.raises(LoopViolation, match="None"):
        check_first_step(replace(result, first_step={}))
    with pytest.raises(LoopViolation, match="nan"):
        check_first_step(replace(result, first_step={"dpo_loss": math.nan}))


@pytest.mark.slow
def test_dropout_of_the_policy_is_off(policy: Path, tmp_path: Path) -> None:
    """Llama's attention dropout is a number in its configuration, which TRL's own switch does not reach."""
    with_dropout = tmp_path / "M1"
    with_dropout.mkdir()
    for path in policy.iterdir():
        (with_dropout / path.name).write_bytes(path.read_bytes())
    config = json.loads((policy / "config.json").read_text())
    (with_dropout / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.5}))
    result = train(with_dropout, tmp_path / "train", n=8)
    check_first_step(result, tolerance=1e-6)
    assert json.loads((result.checkpoint / "config.json").read_text())["attention_dropout"] == 0.5


# --- resuming


def kill_at(step: int) -> Any:
    def progress(now: TrainProgress) -> None:
        if now.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


@pytest.mark.slow
def test_killed_and_resumed_equals_undisturbed(
    undisturbed: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "train"
    run_until_killed(lambda: train(policy, out, progress=kill_at(5)))
    monkeypatch.setattr(dpo, "_reference", lambda *args: pytest.fail("the reference was computed again"))
    seen: list[int] = []
    train(policy, out, progress=lambda now: seen.append(now.step))
    assert seen == [4, 5, 6, 7, 8]
    assert contents(out) == contents(undisturbed)


@pytest.mark.slow
def test_killed_while_the_reference_is_written(undisturbed: Path, policy: Path, tmp_path: Path) -> None:
    out = tmp_path / "train"

    def die_writing() -> None:
        write = jsonl.write

        def die(path: Path, records: Any) -> None:
            write(path.with_name(".reference.jsonl.tmp"), list(records)[:5])
            os.kill(os.getpid(), signal.SIGKILL)

        jsonl.write = die  # type: ignore[assignment]
        train(policy, out)

    run_until_killed(die_writing)
    train(policy, out)
    assert contents(out) == contents(undisturbed)


def test_reference_of_other_pairs_is_refused(policy: Path, tmp_path: Path) -> None:
    jsonl.write(tmp_path / "train" / "reference.jsonl", [ReferenceLogps(id="x", chosen_logp=-1, rejected_logp=-2)])
    with pytest.raises(DataError, match="does not hold the pairs"):
        train(policy, tmp_path / "train")


# --- what bad input gets


def test_nothing_to_train_on(policy: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="of 0 pairs, 0 exceed"):
        train(policy, tmp_path / "a", n=0)
    with pytest.raises(TrainingError, match=r"of 5 pairs, 5 exceed 4 tokens \(dpo\.max_length"):
        train(policy, tmp_path / "b", CONFIG.model_copy(update={"max_length": 4}), n=5)


@pytest.mark.slow
def test_a_pair_over_max_length_is_left_out_and_counted(policy: Path, tmp_path: Path) -> None:
    given = pairs(8)
    long = given[0].model_copy(
        update={"prompt_id": "long", "rejected": (Message(role="assistant", content="x " * 80),)}
    )
    result = train_dpo(policy, [*given, long], CONFIG, tmp_path / "train", seed=5)
    assert result.truncated == 1
    assert [r.id for r in jsonl.read(tmp_path / "train" / "reference.jsonl", ReferenceLogps)] == [p.id for p in given]


@pytest.mark.slow
def test_pairs_of_equal_tokens_are_left_out_and_counted(policy: Path, tmp_path: Path) -> None:
    given = pairs(8)
    same = given[0].model_copy(update={"prompt_id": "same", "rejected": given[0].chosen})
    spaced = (Message(role="assistant", content=given[0].chosen[0].content + " "),)
    result = train_dpo(policy, [*given, same], CONFIG, tmp_path / "train", seed=5)
    assert (result.equal, result.truncated) == (1, 0)
    assert [r.id for r in jsonl.read(tmp_path / "train" / "reference.jsonl", ReferenceLogps)] == [p.id for p in given]
    card = read_card(result.checkpoint)
    assert card is not None
    assert (card.counts["pairs"], card.counts["equal"]) == (8, 1)
    with pytest.raises(TrainingError, match="in each of the 1 pairs chosen and rejected become the same tokens"):
        train_dpo(policy, [same], CONFIG, tmp_path / "other", seed=5)
    assert distinct(render_pairs(load_tokenizer(policy), [same.model_copy(update={"rejected": spaced})]))[1] == 0


# --- templates that leave a part of an answer out

THINKING = CHAT_TEMPLATE.replace("{{ m['content'] }}<|end|>", "{{ m['content'].split('</think>')[-1] }}<|end|>")


def thinking(n: int) -> list[PreferencePair]:
    """Pairs whose answers differ in their thinking alone."""
    return [
        p.model_copy(
            update={
                side: (Message(role="assistant", content=f"<think>{thought} {i}</think>7"),)
                for side, thought in (("chosen", "Let me count to"), ("rejected", "It may be"))
            }
        )
        for i, p in enumerate(pairs(n))
    ]


@pytest.mark.slow
def test_what_is_trained_is_what_was_sampled_also_where_the_template_drops_thinking(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", template=THINKING)
    tokenizer = load_tokenizer(base)
    tokens = render_pairs(tokenizer, thinking(8))
    assert [tokenizer.decode(t.chosen.completion) for t in tokens] == [
        f" <think>Let me count to {i}</think>7<|end|>" for i in range(8)
    ]
    assert distinct(tokens)[1] == 0
    result = train_dpo(base, thinking(8), CONFIG, tmp_path / "train", seed=5)
    assert result.equal == 0
    assert lines(tmp_path / "train")[-1]["dpo_loss"] != pytest.approx(math.log(2), abs=1e-6)


def test_thinking_that_the_template_puts_in_the_place_of_the_models_is_not_trained(tmp_path: Path) -> None:
    template = THINKING.replace("<|assistant|> {{ m", "<|assistant|> <think></think>{{ m")
    tokenizer = load_tokenizer(make_model(tmp_path / "base", template=template))
    (pair,) = render_pairs(tokenizer, thinking(1))
    assert tokenizer.decode(pair.chosen.completion) == "<think>Let me count to 0</think>7<|end|>"
    (plain,) = render_pairs(tokenizer, pairs(1))  # the template's own way where nothing is cut
    assert tokenizer.decode(plain.chosen.completion).startswith(" <think></think>The ")


def test_a_template_that_only_sets_thinking_apart_is_left_to_it(tmp_path: Path) -> None:
    """Qwen3's way: the thinking of the last turn is kept, with line ends of the template's own."""
    template = (
        "{% for m in messages %}{% if m['role']=='assistant' %}<|assistant|> {% if '</think>' in m['content'] %}"
        "{{ m['content'].split('</think>')[0] + '\n</think>\n\n' + m['content'].split('</think>')[-1] }}"
        "{% else %}{{ '<think>\n\n</think>\n\n' + m['content'] }}{% endif %}<|end|>"
        "{% else %}<|user|> {{ m['content'] }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    tokenizer = load_tokenizer(make_model(tmp_path / "base", template=template))
    (pair,) = render_pairs(tokenizer, thinking(1))
    assert tokenizer.decode(pair.chosen.completion) == " <think>Let me count to 0\n</think>\n\n7<|end|>"
    twice = (Message(role="assistant", content="<think>one</think>two</think>three"),)  # the template drops "two"
    (pair,) = render_pairs(tokenizer, [pair_of.model_copy(update={"chosen": twice}) for pair_of in pairs(1)])
    assert tokenizer.decode(pair.chosen.completion) == "<think>one</think>two</think>three<|end|>"


def test_one_answer_that_makes_a_template_render_its_prompt_otherwise_stops_nothing(tmp_path: Path) -> None:
    """Qwen3.5's way without thinking: an empty thought opens the answer; one that closes thoughts is taken apart."""
    template = (
        "{% for m in messages %}{% if m['role']=='assistant' %}<|assistant|>{% if '</think>' in m['content'] %}"
        "{{ '<think>\n' + m['content'].split('</think>')[0] + '\n</think>\n\n' + m['content'].split('</think>')[-1] }}"
        "{% else %}{{ '<think>\n\n</think>\n\n' + m['content'] }}{% endif %}<|end|>"
        "{% else %}<|user|> {{ m['content'] }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    )
    tokenizer = load_tokenizer(make_model(tmp_path / "base", template=template))
    thought, plain = "<think>Let me count to 0</think>7<|end|>", "The apple is here.<|end|>"
    for given, trained in ((thinking(1), thought), (pairs(1), plain)):
        (pair,) = render_pairs(tokenizer, given)
        assert tokenizer.decode(pair.chosen.completion) == trained
        assert tokenizer.decode(pair.chosen.prompt).endswith("<|assistant|><think>\n\n</think>\n\n")


def test_two_pairs_of_one_id(policy: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="same prompt_id"):
        train_dpo(policy, [*pairs(2), *pairs(1)], CONFIG, tmp_path / "train", seed=5)


def test_a_policy_without_template(tmp_path: Path) -> None:
    plain = make_model(tmp_path / "plain", template=None)
    with pytest.raises(TrainingError, match="has no chat template"):
        train(plain, tmp_path / "train")


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops(policy: Path, tmp_path: Path) -> None:
    wild = CONFIG.model_copy(update={"learning_rate": 1e38, "final_learning_rate": 1e38})
    with pytest.raises(TrainingError, match=r"became (nan|inf) at step \d+"):
        train(policy, tmp_path / "train", wild)
    assert not (tmp_path / "train" / "checkpoint").exists()
    assert ResumeStore(tmp_path / "train" / "resume").latest() is None


@pytest.mark.slow
@pytest.mark.skipif("SRBENCH_DATA_DIR" not in os.environ, reason="needs the data directory")
def test_stories260k(tmp_path: Path) -> None:
    base = Path(os.environ["SRBENCH_DATA_DIR"]) / "stories260k" / "hf_derived"
    config = SftConfig(learning_rate=1e-3, final_learning_rate=1e-4, batch_size=8, dropout=0.0)
    first = train_sft(base, examples(16), config, tmp_path / "M1", seed=1)
    result = train(first.checkpoint, tmp_path / "M2", CONFIG.model_copy(update={"max_length": 256}), n=16)
    check_first_step(result)
    assert lines(tmp_path / "M2")[-1]["rewards/margins"] > 0
