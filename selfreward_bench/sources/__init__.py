"""Where data and models come from: the data directory, published files, the Hugging Face hub, conversation trees.

Nothing here knows a benchmark.
"""

from selfreward_bench.sources.directory import DataDir

__all__ = ["DataDir"]
