"""What can go wrong with filings."""


class ReportingError(Exception):
    """Base of this package's errors; the message says what was found, where, and what is needed."""


class TablesInvalid(ReportingError):
    """A file of `tables/` is not as it must be."""


class DayNotClosed(ReportingError):
    """The day's evening is not in the books of a cell yet."""


class FilingRefused(ReportingError):
    """A batch that may not be made, sent or corrected now; says why."""


class RegulatorSilent(ReportingError):
    """The regulator did not answer: whether it has the batch is not known."""
