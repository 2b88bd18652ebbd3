"""1104 returns: cells added up over the company, and the checks between them and the EAST tables. Pure."""

from collections.abc import Mapping

from compliance.reporting.batch import Finding

Values = Mapping[str, Mapping[str, int]]
"""Fen by return and cell."""
_CLASSES = ("normal", "special_mention", "substandard", "doubtful", "loss")


def add_up(of_cells: Mapping[str, Values]) -> dict[str, dict[str, int]]:
    """Return the sums over the cells of the company."""
    total: dict[str, dict[str, int]] = {}
    for values in of_cells.values():
        for name, cells in values.items():
            mine = total.setdefault(name, {})
            for cell, fen in cells.items():
                mine[cell] = mine.get(cell, 0) + fen
    return total


def check_returns(values: Values, balances_503_fen: int) -> list[Finding]:
    """Return what does not agree: between returns, and with all IOUs together (`balances_503_fen`)."""
    g01, g11, g04 = values["G01"], values["G11"], values["G04"]
    pairs = [
        ("G01", "loans", "G01 loans are the sum of 503", g01["loans"], balances_503_fen),
        ("G11", "total", "G11 total is G01 loans", g11["total"], g01["loans"]),
        ("G11", "total", "G11 classes sum to its total", sum(g11[c] for c in _CLASSES), g11["total"]),
        ("G01", "assets", "assets are liabilities and profit", g01["assets"],
         g01["liabilities"] + g01["profit"]),
        ("G04", "profit", "profit is income less impairment", g04["profit"],
         g04["interest_income"] + g04["fee_income"] - g04["impairment"]),
    ]  # fmt: skip
    return [
        Finding(name, cell, rule, yuan(found), yuan(needed))
        for name, cell, rule, found, needed in pairs
        if found != needed
    ]


def yuan(fen: int) -> str:
    """Return fen as yuan with two digits."""
    sign, whole = "-" if fen < 0 else "", abs(fen)
    return f"{sign}{whole // 100}.{whole % 100:02d}"
