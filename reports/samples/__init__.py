"""Single samples and preference pairs: read line by line, joined by id, bounded, packed for the page.

What cannot be read becomes a gap, never an error.
"""

from reports.samples.records import Sample, SampleSet, Texts

__all__ = ["Sample", "SampleSet", "Texts"]
