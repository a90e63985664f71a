"""IFEval (Zhou et al. 2023): instructions whose following a program can check, such as "use no commas".

Who checks is lm-eval's own checker, imported in ``checker`` alone, without a network and without chance.
"""

from leaderboards.ifeval.benchmark import IfEval

__all__ = ["IfEval"]
