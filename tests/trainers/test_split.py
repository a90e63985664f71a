"""A training means the same however it is split: over micro batches, and over processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.config import DpoConfig, RehearsalConfig, SftConfig
from trainers.dpo import train_dpo
from trainers.rehearsing import Rehearsal
from trainers.sft import train_sft

from ..forking import run_together
from .conftest import examples, make_model, pairs

SFT = SftConfig(
    learning_rate=1e-3,
    final_learning_rate=1e-4,
    epochs=2.0,
    batch_size=8,
    dropout=0.0,
    max_length=64,
)
DPO = DpoConfig(
    beta=0.5,
    nll_weight=0.3,
    learning_rate=1e-3,
    final_learning_rate=1e-4,
    epochs=2.0,
    batch_size=8,
    max_length=64,
)
REHEARSED = {"rehearsed": Rehearsal(tuple(examples(11)), RehearsalConfig(what=("own",), size=5, weight=0.7))}
KINDS = ("sft", "dpo", "rehearsed")
N = 17  # two whole steps of 8 and one of a single record: the second process has none of it


def train(kind: str, base: Path, out: Path, micro: int | None = None, tokens: int | None = None) -> Path:
    split = {"micro_batch_size": micro, "micro_tokens": tokens}
    if kind == "sft":
        train_sft(base, examples(N), SFT.model_copy(update=split), out, seed=5)
    else:
        train_dpo(base, pairs(N), DPO.model_copy(update=split), out, seed=5, rehearsal=REHEARSED.get(kind))
    return out


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With probabilities that differ, so that a wrong weight of a record is seen in the loss."""
    return make_model(tmp_path_factory.mktemp("base") / "model", initializer_range=0.2)


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, train(request.param, base, tmp_path_factory.mktemp("whole") / request.param)


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(out / "checkpoint" / "model.safetensors")


def assert_same(a: Path, b: Path) -> None:
    first, second = log(a), log(b)
    assert len(first) == len(second) == 6
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        assert one == pytest.approx(other, abs=1e-5, rel=1e-4)  # rel: log-probabilities of -50 and gradient norms
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("micro", [4, 1])
def test_micro_batches_change_nothing(whole: tuple[str, Path], micro: int, base: Path, tmp_path: Path) -> None:
    kind, undivided = whole
    assert_same(undivided, train(kind, base, tmp_path / kind, micro))


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [70, 20])
def test_a_budget_of_tokens_changes_nothing(
    whole: tuple[str, Path], tokens: int, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps then have different numbers of micro batches: two or three, or one for each record."""
    from trainers.batches import Split

    kind, undivided = whole
    passes: list[int] = []
    deal = Split.deal

    def counted(*args: Any, **kwargs: Any) -> Any:
        passes.append(len(dealt := deal(*args, **kwargs)))
        return dealt

    monkeypatch.setattr(Split, "deal", counted)
    assert_same(undivided, train(kind, base, tmp_path / kind, tokens=tokens))
    assert passes[-1] == 1 or kind == "rehearsed"  # the step of a single record, which has judgments beside it
    assert len(set(passes)) > 1


@pytest.mark.slow
def test_the_incomplete_step_counts_its_own_records_alike(whole: tuple[str, Path], base: Path, tmp_path: Path) -> None:
    """The last of 13 pairs is alone in its micro batch; it used to weigh as much as the four before it."""
    kind, _ = whole
    given: Any = examples(13) if kind == "sft" else pairs(13)
    function: Any = train_sft if kind == "sft" else train_dpo
    options: Any = {} if kind == "sft" else {"rehearsal": REHEARSED.get(kind)}
    found = []
    for micro in (8, 4):
        section: Any = SFT if kind == "sft" else DPO
        config = section.model_copy(update={"micro_batch_size": micro, "epochs": 1.0})
        function(base, given, config, tmp_path / f"{micro}", seed=5, **options)
        found.append(log(tmp_path / f"{micro}")[-1])
    assert found[0]["grad_norm"] == pytest.approx(found[1]["grad_norm"], rel=1e-4)
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], abs=1e-5)


@pytest.fixture(scope="module")
def two_processes(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All trainings, each by two processes, with micro batches of two records and of 40 tokens."""
    folder = tmp_path_factory.mktemp("two")

    def work() -> None:
        for kind in KINDS:
            train(kind, base, folder / kind, 2)
            train(kind, base, folder / "tokens" / kind, tokens=40)

    run_together(work, 2, folder / "log")
    return folder


@pytest.mark.slow
def test_two_processes_change_nothing(whole: tuple[str, Path], two_processes: Path) -> None:
    kind, undivided = whole
    assert_same(undivided, two_processes / kind)
    assert_same(undivided, two_processes / "tokens" / kind)
