"""Prices come from the user, and a budget is not exceeded whatever is in flight."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from selfreward_bench.cli import costs
from selfreward_bench.errors import ConfigError
from selfreward_bench.prices import Budget, Price, PriceTable, Usage, load_prices

TABLE = PriceTable(currency="EUR", models={"m": Price(prompt=1.0, completion=10.0)})
CALL = Usage(100_000, 10_000)  # 0.1 + 0.1


@pytest.mark.parametrize(
    "text",
    [
        "currency: EUR\nmodels:\n  m: {prompt: 1, completion: 10.0}\n",
        '{"currency": "EUR", "models": {"m": {"prompt": 1.0, "completion": 10}}}',
    ],
)
def test_a_table_is_yaml_or_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    assert load_prices(path) == TABLE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: {m: {prompt: -1, completion: 1}}", "models.m.prompt"),
        ("models: {m: {prompt: .nan, completion: 1}}", "models.m.prompt"),
        ("models: {m: {prompt: 1}}", "models.m.completion"),
        ("models: {m: {prompt: 1, completion: 1, cached: 1}}", "models.m.cached"),
        ("[1, 2]", "keys with values are needed"),
        ("a: [", r"prices\.yaml:1: not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "keys with values are needed"),
        ("models: {m: !!python/name:os.system }", r"prices\.yaml:1: models\.m: "),
        ("", "holds nothing"),
        (
            "models:\n  m: {prompt: 1, completion: 1}\n  m: {prompt: 9, completion: 9}",
            r"prices\.yaml:3: models\.m: is there twice",
        ),
        ("models: {m: {prompt: 2024-13-45, completion: 1}}", r"prices\.yaml:1: models\.m\.prompt: "),
        (f"models: {{m: {{prompt: {'9' * 5000}, completion: 1}}}}", r"prices\.yaml:1: models\.m\.prompt: "),
        ("\ufeffmodels: {m: {prompt: 1}}", "models.m.completion"),
    ],
)
def test_a_bad_table_is_refused_with_the_place_and_the_format(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        load_prices(path)
    assert "per million tokens" in str(error.value)


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_prices(tmp_path / "none.yaml")


def test_cost() -> None:
    assert TABLE.cost("m", CALL) == pytest.approx(0.2)
    assert TABLE.cost("other", CALL) is None


def test_a_limit_needs_a_price() -> None:
    with pytest.raises(ConfigError, match=r"no price for 'n'.*per million tokens"):
        Budget(TABLE, 1.0).check("n")
    Budget(TABLE, 1.0).check("m")
    Budget(TABLE).check("n")
    with pytest.raises(ConfigError, match="no amount"):
        Budget(TABLE, float("nan"))


def test_the_worst_case_is_set_aside_and_the_real_usage_booked() -> None:
    budget = Budget(TABLE, 0.5)
    first, second = budget.reserve("m", CALL), budget.reserve("m", CALL)
    assert first is not None
    assert second is not None
    assert budget.reserve("m", CALL) is None  # 0.6 with what is in flight
    assert not budget.is_spent("m", CALL)
    assert budget.settle(first, Usage(50_000, 0)) == pytest.approx(0.05)
    assert budget.reserve("m", CALL) is not None  # 0.05 + 0.2 + 0.2
    assert budget.settle(second, None) == pytest.approx(0.2)
    assert (budget.spent, budget.uncertain) == (pytest.approx(0.05), pytest.approx(0.2))
    assert not budget.is_spent("m", CALL)
    assert budget.is_spent("m", Usage(300_000, 0))


def test_what_was_not_billed_costs_nothing() -> None:
    budget = Budget(TABLE, 0.2)
    reservation = budget.reserve("m", CALL)
    assert reservation is not None
    assert budget.settle(reservation, Usage()) == 0
    assert budget.reserve("m", CALL) is not None


def test_without_a_limit_costs_are_counted_and_unknown_models_cost_nothing() -> None:
    budget = Budget(TABLE)
    for model in ("m", "n"):
        reservation = budget.reserve(model, CALL)
        assert reservation is not None
        budget.settle(reservation, CALL)
    assert budget.spent == pytest.approx(0.2)
    assert budget.unpriced == {"n"}
    assert costs.spent(budget) == "Served models cost 0.2000 EUR, and what n costs, whose price is not known."
    alone = Budget()
    reservation = alone.reserve("n", CALL)
    assert reservation is not None
    alone.settle(reservation, Usage())  # the server refused
    assert alone.unpriced == set()
    alone.settle(reservation, None)
    assert costs.spent(alone) == "What the calls to n cost is not known: no price was given (--prices)."


def test_threads_cannot_exceed_it_together() -> None:
    budget = Budget(PriceTable(models={"m": Price(prompt=1e6, completion=0)}), 100.0)
    paid: list[int] = []

    def spend() -> None:
        for _ in range(50):
            reservation = budget.reserve("m", Usage(1, 0))
            if reservation:
                budget.settle(reservation, Usage(1, 0))
                paid.append(1)

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(paid), budget.spent) == (100, 100.0)
