"""Health: what is watched besides quality, from stored files alone.

Reports read the records; ``run`` measures and is imported where that is done.
"""

from leaderboards.health.records import HEALTH, Health, IterationHealth, read_health

__all__ = ["HEALTH", "Health", "IterationHealth", "read_health"]
