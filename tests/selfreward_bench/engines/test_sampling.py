"""Draws: the right distribution, and a row's token depends on its own row alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfreward_bench.engines import sampling
from selfreward_bench.engines.sampling import draw, uniform
from selfreward_bench.errors import EngineError


def rows(probs: list[float], count: int) -> torch.Tensor:
    return torch.tensor(probs).log().repeat(count, 1)


def draws(logits: torch.Tensor, temperature: float = 1.0, top_p: float = 1.0, seed: int = 0) -> torch.Tensor:
    n = len(logits)
    u = torch.from_numpy(uniform(np.arange(seed, seed + n, dtype=np.uint64), 0))
    return draw(logits, torch.full((n,), temperature), torch.full((n,), top_p), u)


def test_uniform_is_splitmix64_of_the_reference_implementation() -> None:
    # first outputs of Vigna's splitmix64.c for the state 0 and the state 1234567
    assert int(sampling._splitmix64(np.array([0], dtype=np.uint64))[0]) == 0xE220A8397B1DCDAF
    assert int(sampling._splitmix64(np.array([1234567], dtype=np.uint64))[0]) == 6457827717110365317


def test_uniform_numbers_are_uniform_and_unlike_over_seeds_and_steps() -> None:
    seeds = np.arange(4000, dtype=np.uint64)
    table = np.stack([uniform(seeds, step) for step in range(10)])
    assert table.min() >= 0
    assert table.max() < 1
    assert abs(table.mean() - 0.5) < 0.01
    assert abs(table.var() - 1 / 12) < 0.005
    assert len(np.unique(table)) == table.size
    assert np.abs(np.corrcoef(table) - np.eye(10)).max() < 0.06


@pytest.mark.parametrize("top_p", [1.0, 0.999999])
def test_frequencies_follow_the_probabilities(top_p: float) -> None:
    probs = [0.5, 0.1, 0.0001, 0.3, 0.0999]
    tokens = draws(rows(probs, 20000), top_p=top_p)
    frequencies = torch.bincount(tokens, minlength=5) / 20000
    assert torch.allclose(frequencies, torch.tensor(probs), atol=0.012)


def test_temperature_sharpens() -> None:
    tokens = draws(rows([0.6, 0.4], 20000), temperature=0.5)
    expected = 0.36 / (0.36 + 0.16)
    assert abs((tokens == 0).float().mean().item() - expected) < 0.012


def test_nucleus_keeps_the_smallest_set_that_reaches_top_p() -> None:
    tokens = draws(rows([0.1, 0.5, 0.05, 0.35], 5000), top_p=0.8)
    assert set(tokens.tolist()) == {1, 3}
    frequencies = torch.bincount(tokens, minlength=4) / 5000
    assert abs(frequencies[1].item() - 0.5 / 0.85) < 0.025


def test_nucleus_wider_than_the_candidates_is_the_same_as_a_full_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    logits = torch.randn(300, 200)  # nuclei of more than 64 tokens
    logits[::3] *= 6  # and narrow ones beside them
    narrow_first = draws(logits, top_p=0.9)
    monkeypatch.setattr(sampling, "NUCLEUS_WIDTHS", (1 << 62,))
    assert torch.equal(draws(logits, top_p=0.9), narrow_first)


def test_equal_probabilities_at_the_edge_are_all_kept() -> None:
    tokens = draws(torch.zeros(4000, 100), top_p=0.5)
    assert len(set(tokens.tolist())) == 100


def test_greedy_takes_the_first_most_likely_token() -> None:
    assert draws(torch.tensor([[0.0, 2.0, 2.0]]), temperature=0.0).tolist() == [1]


def test_a_tiny_temperature_is_greedy_and_does_not_overflow() -> None:
    torch.manual_seed(0)
    logits = torch.randn(50, 30) * 10
    assert torch.equal(draws(logits, temperature=1e-30), logits.argmax(-1))


def test_a_row_does_not_depend_on_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    logits = torch.randn(40, 150) * 2
    temperature = torch.tensor([0.0, 0.7, 1.0, 1.3] * 10)
    top_p = torch.tensor([0.9, 0.5, 1.0, 0.99, 1.0] * 8)
    u = torch.from_numpy(uniform(np.arange(40, dtype=np.uint64), 3))
    together = draw(logits, temperature, top_p, u)
    alone = [draw(logits[i : i + 1], temperature[i : i + 1], top_p[i : i + 1], u[i : i + 1]).item() for i in range(40)]
    assert together.tolist() == alone
    monkeypatch.setattr(sampling, "CHUNK_ELEMENTS", 450)
    assert torch.equal(draw(logits, temperature, top_p, u), together)


def test_the_largest_number_draws_the_last_token_that_has_any_probability() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf]])
    u = torch.tensor([1 - 2.0**-53], dtype=torch.float64)
    for top_p in (1.0, 0.9999):
        assert draw(logits, torch.ones(1), torch.tensor([top_p]), u).tolist() == [1]
    assert draw(logits, torch.ones(1), torch.ones(1), torch.zeros(1, dtype=torch.float64)).tolist() == [0]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_logits_that_are_no_numbers_are_an_error(temperature: float) -> None:
    with pytest.raises(EngineError, match="not finite"):
        draws(torch.tensor([[0.0, float("nan")]]), temperature=temperature)
