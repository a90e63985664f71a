"""The drift matrix: every checkpoint judges one pool of answers, so that change in the judge can be seen.

It scores as judge accuracy does, and its pool are head-to-head's answers, so it reads both rooms.
"""

from leaderboards.drift.session import asked_of_each, drift, needed

__all__ = ["asked_of_each", "drift", "needed"]
