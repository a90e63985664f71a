"""What served models cost: what a plan says of it, and what a command's calls came to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from selfreward_bench.config import RunConfig
    from selfreward_bench.models.bounds import Calls
    from selfreward_bench.models.opening import Services
    from selfreward_bench.prices import Budget, PriceTable

Prices = Annotated[
    Path | None, typer.Option("--prices", metavar="FILE", help="Prices of served models (docs/served-models.md).")
]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost", metavar="AMOUNT", min=0, help="Stops before served models cost more.")
]
Replay = Annotated[
    bool, typer.Option("--replay", help="No network: answers of served models come from the store alone.")
]
Concurrency = Annotated[
    int, typer.Option("--concurrency", metavar="N", min=1, help="Calls to a served model at the same time.")
]


def price_table(path: Path | None) -> PriceTable | None:
    """The user's price table, where there is one."""
    from selfreward_bench.prices import load_prices

    return load_prices(path) if path else None


def services(
    config: RunConfig, prices: Path | None, max_cost: float | None, *, replay: bool, concurrency: int
) -> Services:
    """What the served models of a run share, within a budget."""
    from selfreward_bench.prices import Budget, PriceTable
    from trainers.serving import services_of

    budget = Budget(price_table(prices) or PriceTable(), max_cost)
    return services_of(config, budget=budget, replay=replay, concurrency=concurrency)


def at_most(name: str, calls: Sequence[Calls], table: PriceTable | None) -> str:
    """What the calls to one served model cost at most, in words.

    Args:
        name: as in the price table.
    """
    from selfreward_bench.prices import Usage

    usage = Usage(sum(c.prompt_tokens for c in calls), sum(c.completion_tokens for c in calls))
    cost = table.cost(name, usage) if table else None
    known = "its price is not known (--prices)"
    if table is not None and cost is not None:
        known = f"at most {math.ceil(cost * 100) / 100:,.2f} {table.currency}"
        if unknown := sum(c.calls for c in calls if is_unbounded(c)):
            known += f" and what {unknown:,} calls of unknown length cost"
    return f"{name}: {sum(c.calls for c in calls):,} calls, {known}; stored answers cost nothing."


def is_unbounded(calls: Calls) -> bool:
    """Whether nobody has said how long these calls may be."""
    return bool(calls.calls) and not calls.prompt_tokens + calls.completion_tokens


def spent(budget: Budget) -> str:
    """What a command's calls came to, in words."""
    currency, uncertain = budget.prices.currency, budget.uncertain
    unknown = ", ".join(sorted(budget.unpriced))
    if unknown and not budget.spent + uncertain:
        return f"What the calls to {unknown} cost is not known: no price was given (--prices)."
    told = f"Served models cost {'at most ' if uncertain else ''}{budget.spent + uncertain:,.4f} {currency}"
    told += f", and what {unknown} costs, whose price is not known" if unknown else ""
    told += f", {uncertain:,.4f} of it for answers that broke off and may not have been billed" if uncertain else ""
    limit = (
        f" --max-cost {budget.max_cost:g} holds for each call of the command." if budget.max_cost is not None else ""
    )
    return f"{told}.{limit}"
