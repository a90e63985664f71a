"""MT-Bench: questions of two turns, graded by a judge or compared with a baseline's answers.

FastChat's files are read and written; its prompts come from the data directory.
"""

from leaderboards.mt_bench.benchmark import MicroMtBench, MtBench

__all__ = ["MicroMtBench", "MtBench"]
