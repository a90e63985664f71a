"""The loop's checks of itself: that the next model is what it claims to be. A violation stops the run with its reason.

Small reproductions of this method fail exactly here, and silently: adapters that were not loaded, rounds that start
from the base again, preferences of another model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from selfreward_bench.errors import LoopViolation, TrainingError
from selfreward_bench.types import Completion, Message, PreferencePair


def check_candidates(model: str, parent: str, made_by: str | None, fingerprint: str) -> None:
    """The candidates of ``model`` must be answers of exactly its parent's weights.

    Raises:
        LoopViolation: other weights made them.
    """
    if made_by != fingerprint:
        raise LoopViolation(
            f"The candidates of {model} were made by weights {made_by}, but {parent} has {fingerprint}: the "
            f"preferences are not {parent}'s own. Make them anew: --from-stage {model}/candidates"
        )


def check_pairs(path: Path, model: str, pairs: Sequence[PreferencePair], completions: Iterable[Completion]) -> None:
    """Each pair must be two of the candidates given to that very prompt. Held are 64 bits of each text with its place.

    Raises:
        LoopViolation: a text of a pair is not the candidate it names.
    """
    import numpy as np  # not where a run is only looked at

    sides = (hash((f"{pair.prompt_id}/{index}", side[-1].content)) for pair in pairs for index, side in _sides(pair))
    named, given = np.fromiter(sides, np.int64), (hash((c.id, c.text)) for c in completions)
    wrong = np.flatnonzero(~np.isin(named, np.fromiter(given, np.int64)))
    if wrong.size:
        pair = pairs[int(wrong[0]) // 2]
        candidate, _ = _sides(pair)[int(wrong[0]) % 2]
        raise LoopViolation(
            f"{path}: pair {pair.id} holds a text that is not candidate {candidate} of its prompt. Make the pairs "
            f"anew: --from-stage {model}/pairs"
        )


def _sides(pair: PreferencePair) -> tuple[tuple[int, tuple[Message, ...]], ...]:
    return (pair.chosen_index, pair.chosen), (pair.rejected_index, pair.rejected)


def check_weights(
    model: str, parent: str, fingerprints: tuple[str, str], probes: tuple[list[float], list[float]]
) -> float:
    """New weights must differ from the parent's, and so must what they compute.

    Args:
        fingerprints: of the model and of its parent.
        probes: logits of the model and of its parent on fixed text.

    Returns:
        The largest change of a logit.

    Raises:
        LoopViolation: nothing changed.
        TrainingError: the new logits are no finite numbers.
    """
    change = max(abs(a - b) for a, b in zip(*probes, strict=True))
    if not math.isfinite(change):
        raise TrainingError(f"{model} computes no finite logits. Lower its learning rate: --from-stage {model}/train")
    if fingerprints[0] == fingerprints[1] or change == 0:
        raise LoopViolation(
            f"{model} has the weights of {parent} ({fingerprints[1]}): training changed nothing. Check learning rate "
            f"and number of steps, and save_dtype (16 bits round small changes away), then: --from-stage {model}/train"
        )
    return change


def require_pairs(stage: str, counts: Mapping[str, float]) -> None:
    """There must be something to prefer.

    Args:
        stage: that made the pairs.

    Raises:
        TrainingError: no prompt gave a usable pair; says where they went.
    """
    if counts["pairs"]:
        return
    listing = ", ".join(f"{name} {value:g}" for name, value in counts.items())
    model = stage.partition("/")[0]
    raise TrainingError(
        f"{model}: no prompt gave a usable preference pair ({listing}). If judgments did not parse, the judge prompt "
        "does not suit this model (judge.prompt, judge.mode: expected, more EFT data; the counts of the stage "
        f"{model}/judgments say why); if scores tie, raise judge.samples or candidates.count, or take judge.mode "
        "expected; if gaps are too small (below_gap), lower pairs.min_gap; if answers were cut off (truncated), raise "
        "candidates.sampling.max_new_tokens, or train the model longer to end them. Set it in "
        f"srbench.yaml and go on with --from-stage {stage}, or the earlier stage that it belongs to."
    )


def require_positives(model: str, counts: Mapping[str, float]) -> None:
    """A round must add something to learn, or its model would be the one before under another name.

    Raises:
        TrainingError: no answer got the judge's top grade; says what became of them.
    """
    if counts["positives"]:
        return
    listing = ", ".join(f"{name} {value:g}" for name, value in counts.items())
    raise TrainingError(
        f"{model}: no answer got the judge's top grade ({listing}), so there is nothing that the round before did not "
        f"learn from. Look at the counts of {model}/judgments, raise candidates.count, or train the judge on more EFT "
        f"data; then go on with --from-stage {model}/candidates, or the earlier stage that it belongs to."
    )
