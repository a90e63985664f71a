"""What a report knows: a run's files as frozen records, arranged and put into words. No HTML, nothing measured.

``run`` is what is known, ``reading`` reads it; the other modules answer one kind of question each.
"""

from reports.facts.reading import collect
from reports.facts.run import ModelFacts, RunFacts

__all__ = ["ModelFacts", "RunFacts", "collect"]
