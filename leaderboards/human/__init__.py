"""People compare the answers of two models without knowing whose is whose: sheets for raters, and what came of them.

``answers`` finds what is compared, ``drawing`` draws a sheet, ``labels`` reads ratings back, ``scoring`` and ``judges``
make numbers of them, ``records`` is what lies in the run's directory ``human``.
"""
