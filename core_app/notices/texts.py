"""What notices say, in Chinese with English beside it. Pure. No name, no number of a loan, no threat."""

import datetime as dt
from typing import Literal

Kind = Literal["due", "overdue", "rate_change"]


def make_text(kind: Kind, about: dt.date, amount_fen: int) -> str:
    """Return the text of a notice about a due date, or of a rate that changes from a day on.

    >>> make_text("due", dt.date(2026, 2, 15), 110016).splitlines()[1]
    '1,100.16 yuan fall due on 2026-02-15.'
    """
    yuan = f"{amount_fen // 100:,}.{amount_fen % 100:02d}"
    match kind:
        case "due":
            return f"您有 {yuan} 元将于 {about} 到期。\n{yuan} yuan fall due on {about}."
        case "overdue":
            zh = f"您有 {yuan} 元已逾期（到期日 {about}），如有困难请联系我们。"
            return f"{zh}\n{yuan} yuan are overdue since {about}; tell us if you are in difficulty."
        case "rate_change":
            zh = f"您的贷款利率自 {about} 起下调，详见合同变更说明。"
            return f"{zh}\nYour rate falls from {about} on; see the paper of the change."
