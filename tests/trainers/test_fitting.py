"""What does not fit, and a remedy that is one: the plan with it says that it fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_bench import recipes
from selfreward_bench.config import RunConfig
from selfreward_bench.hardware import GIB
from trainers.dimensions import Dimensions
from trainers.fitting import Machine, Shortage, fewest_devices, find_machine, shortages
from trainers.lengths import Measured, Span
from trainers.memory import LIBRARIES, Device
from trainers.needs import Need, needs
from trainers.plan import StagePlan
from trainers.workload import Amount

LLAMA_8B = Dimensions(
    parameters=8_030_261_248,
    active=8_030_261_248,
    layers=32,
    hidden=4096,
    vocabulary=128_256,
    heads=32,
    attention=4096,
    keys=1024,
    norms=16_384,
    middle=57_344,
    positions=8192,
    width=2,
    drops=True,
)
SMALL = Dimensions(
    parameters=134_515_008,
    active=134_515_008,
    layers=30,
    hidden=576,
    vocabulary=49_152,
    heads=9,
    attention=576,
    keys=192,
    norms=2304,
    middle=6144,
    positions=8192,
    drops=True,
)
MEASURED = Measured(Span(1800, 400.0, 100), Span(2500, 700.0, 100), Span(60, 20.0, 100), frame=12, rubric=450)
NAMES = ("SFT/train", "M1/train", "M1/reviews", "M2/prompts", "M2/candidates", "M2/judgments", "M2/train")
PENDING = [StagePlan(name, "new", Amount(100), "units") for name in NAMES]


def gpu(gib: float) -> Machine:
    return Machine("gpu", round(gib * GIB), 1, "as stated")


def found(config: RunConfig, d: Dimensions, machine: Machine) -> tuple[Need, ...]:
    return needs(config, d, MEASURED, PENDING, machine.device)


def short(config: RunConfig, d: Dimensions, machine: Machine, records: int = 0) -> tuple[Shortage, ...]:
    return shortages(config, d, MEASURED, found(config, d, machine), machine, records)


def test_every_kind_of_stage_is_counted_once() -> None:
    kinds = {need.kind: need.stages for need in found(recipes.load(None), SMALL, gpu(80))}
    assert kinds["sft"] == ("M1/train",)
    assert kinds["dpo"] == kinds["reference"] == ("M2/train",)
    assert set(kinds) == {"baseline", "sft", "reviews", "prompts", "candidates", "judgments", "reference", "dpo"}
    done = [StagePlan("M1/train", "done", Amount(10), "steps", done=10)]
    assert needs(recipes.load(None), SMALL, MEASURED, done, "gpu") == ()


def test_what_fits_is_not_short() -> None:
    assert short(recipes.load(None), SMALL, gpu(80)) == ()
    assert short(recipes.load(None), LLAMA_8B, Machine("gpu", None, 8, "as stated")) == ()


@pytest.mark.parametrize(
    ("given", "gib", "expected"),
    [
        ([], 19, ("sft.micro_batch_size=4",)),  # less of a batch at once comes first
        (["sft.micro_batch_size=1"], 5.3, ("sft.gradient_checkpointing=true",)),
        (["sft.micro_batch_size=1", "sft.gradient_checkpointing=true"], 2.6, ("sft.max_length=1728",)),
    ],
)
def test_the_mildest_remedy_is_named(given: list[str], gib: float, expected: tuple[str, ...]) -> None:
    (sft,) = [s for s in short(recipes.load(None, given), SMALL, gpu(gib)) if s.section == "sft"]
    assert {need.kind for need in sft.needs} <= {"baseline", "sft"}
    assert sft.settings == expected


def test_no_setting_makes_room_for_weights() -> None:
    sections = {s.section: s for s in short(recipes.load(None), LLAMA_8B, gpu(80))}
    assert set(sections) == {"sft", "dpo"}  # 16 bytes of each parameter are 120 GiB; generating takes 30
    assert sections["sft"].settings == sections["dpo"].settings == ()
    assert [n.kind for n in sections["dpo"].needs] == ["dpo"]
    assert {s.section for s in short(recipes.load(None), LLAMA_8B, gpu(10))} == {"sft", "dpo", "engine"}


def test_generation_gets_a_smaller_budget_or_smaller_numbers() -> None:
    config = recipes.load(None, ["engine.tokens_per_batch=262144", "sft.save_dtype=float32"])
    (engine,) = [s for s in short(config, LLAMA_8B, gpu(60)) if s.section == "engine"]
    assert engine.settings[0].startswith("engine.tokens_per_batch=")
    assert len(engine.settings) == 1
    (tight,) = [s for s in short(config, LLAMA_8B, gpu(24)) if s.section == "engine"]
    assert tight.settings[-1] == "engine.dtype=bfloat16"


def test_on_a_cpu_dropout_costs_memory_and_the_libraries_count() -> None:
    config = recipes.load(None, ["sft.micro_batch_size=1", "sft.gradient_checkpointing=true"])
    need = max(n.memory.total for n in found(config, SMALL, Machine("cpu", None, 1, "")) if n.kind == "sft")
    exact = Machine("cpu", need + LIBRARIES, 1, "here")
    assert "sft" not in {s.section for s in short(config, SMALL, exact)}
    (sft,) = [s for s in short(config, SMALL, exact, records=1) if s.section == "sft"]
    assert sft.settings == ("sft.dropout=0",)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    d=st.sampled_from([SMALL, LLAMA_8B]),
    device=st.sampled_from(["cpu", "gpu"]),
    gib=st.floats(0.5, 200),
    records=st.integers(0, 2**30),
    options=st.fixed_dictionaries(
        {
            "sft.micro_batch_size": st.sampled_from(["null", "1", "4", "16"]),
            "dpo.micro_batch_size": st.sampled_from(["null", "1", "8"]),
            "sft.bf16": st.sampled_from(["true", "false"]),
            "dpo.gradient_checkpointing": st.sampled_from(["true", "false"]),
            "sft.dropout": st.sampled_from(["0", "0.1"]),
            "dpo.max_length": st.integers(64, 4096).map(str),
            "judge.mode": st.sampled_from(["sampled", "expected", "reasoned"]),
            "engine.dtype": st.sampled_from(["auto", "bfloat16", "float32"]),
            "engine.tokens_per_batch": st.integers(512, 300_000).map(str),
        }
    ),
)
def test_with_the_remedies_it_fits(
    d: Dimensions, device: Device, gib: float, records: int, options: dict[str, Any]
) -> None:
    config = recipes.load(None, [f"{key}={value}" for key, value in options.items()])
    machine = Machine(device, round(gib * GIB), 1, "as stated")
    before = short(config, d, machine, records)
    remedies = [setting for s in before for setting in s.settings]
    after = short(recipes.change(config, remedies), d, machine, records)
    assert {s.section for s in after} == {s.section for s in before if not s.settings}
    for s in before:
        assert all(need.memory.total > s.room for need in s.needs)


def test_this_machine_is_found(tmp_path: Path) -> None:
    machine = find_machine(tmp_path / "not" / "there" / "yet")
    assert machine.devices >= 1
    assert machine.memory
    assert machine.host
    assert machine.disk


def test_devices_are_counted_in_powers_of_two() -> None:
    assert fewest_devices(lambda count: 100 // count, 30) == 4
    assert fewest_devices(lambda count: 100, 30) is None
