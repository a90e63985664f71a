"""Head-to-head: all pairs of checkpoints on the same prompts, judged in both orders, with Bradley-Terry ratings.

It may be asked AlpacaEval's pairwise question, so it reads that room's annotators.
"""

from leaderboards.head_to_head.ratings import bradley_terry
from leaderboards.head_to_head.tournament import HeadToHead

__all__ = ["HeadToHead", "bradley_terry"]
