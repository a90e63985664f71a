"""AlpacaEval 2.0: answers against a reference model's, judged in the order of a coin, with length control.

Its prompts are read from the installed alpaca_eval, its data from the data directory.
"""

from leaderboards.alpaca_eval.benchmark import AlpacaEval
from leaderboards.alpaca_eval.micro import MicroAlpacaEval

__all__ = ["AlpacaEval", "MicroAlpacaEval"]
