"""What every section of the page is made of: templates, charts, and the section itself.

The sections are in ``reports.sections``.
"""

from reports.page.section import Builder, Chart, Section

__all__ = ["Builder", "Chart", "Section"]
