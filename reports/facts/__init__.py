"""What a report knows: a run's files as frozen records, arranged and put into words. No HTML, nothing measured.

``run`` reads; the other modules answer one kind of question each.
"""

from reports.facts.run import ModelFacts, RunFacts, collect

__all__ = ["ModelFacts", "RunFacts", "collect"]
