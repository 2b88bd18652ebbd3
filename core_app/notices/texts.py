"""What notices say, in Chinese with English beside it. Pure. No name, no number of a loan, no threat."""

import datetime as dt
from typing import Literal

Kind = Literal["due", "overdue", "rate_change"]


HELP_OFFERED = "help"
"""Group of the experiment DUE_WORDING that is also told whom to ask."""
DUE_WORDING = "due-reminder-help"


def make_text(kind: Kind, about: dt.date, amount_fen: int, group: str | None = None) -> str:
    """Return the text of a notice about a due date, or of a rate that changes from a day on.

    `group` is the borrower's in the experiment DUE_WORDING; it says nothing of other kinds.

    >>> make_text("due", dt.date(2026, 2, 15), 110016).splitlines()[1]
    '1,100.16 yuan fall due on 2026-02-15.'
    """
    yuan = f"{amount_fen // 100:,}.{amount_fen % 100:02d}"
    match kind:
        case "due":
            zh, en = f"您有 {yuan} 元将于 {about} 到期。", f"{yuan} yuan fall due on {about}."
            if group == HELP_OFFERED:
                zh, en = f"{zh}如有疑问可联系客服。", f"{en} Ask our service desk if anything is unclear."
            return f"{zh}\n{en}"
        case "overdue":
            zh = f"您有 {yuan} 元已逾期（到期日 {about}），如有困难请联系我们。"
            return f"{zh}\n{yuan} yuan are overdue since {about}; tell us if you are in difficulty."
        case "rate_change":
            zh = f"您的贷款利率自 {about} 起下调，详见合同变更说明。"
            return f"{zh}\nYour rate falls from {about} on; see the paper of the change."
