"""srbench: benchmarks and trains Self-Rewarding Language Models."""

__version__ = "0.1.0"
