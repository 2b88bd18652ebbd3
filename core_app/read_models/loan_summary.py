"""A loan's summary: which row of the outbox makes which value. Pure."""

from replication.projection.position import Change, Row

PREFIX = "loan:"
_TOPICS = (
    "loan.drawn",
    "loan.repaid",
    "loan.voided",
    "loan.repayment_reversed",
    "loan.written_off",
    "loan.moved",
)


def summary_key(loan_id: str) -> str:
    """Return the key under which a loan's summary is kept."""
    return PREFIX + loan_id


def map_row(row: Row) -> Change | None:
    """Return what a row does to the summaries, None for rows about other things.

    A row that does not say where the loan stands (of an older program, or that it moved elsewhere) takes the
    summary away: readers then go to the primary, and never see a state from before that row.
    """
    if row.topic not in _TOPICS:
        return None
    return Change(summary_key(row.key), row.payload.get("loan"))
