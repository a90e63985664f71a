"""NLP benchmarks through lm-eval, on the files of the data directory or from finished outputs.

lm-eval itself is imported in ``model`` alone.
"""

from leaderboards.nlp.benchmark import MicroNlp, Nlp

__all__ = ["MicroNlp", "Nlp"]
