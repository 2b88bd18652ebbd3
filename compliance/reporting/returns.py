"""1104 returns: cells added up over the company, and the checks between them and the EAST tables. Pure."""

from collections.abc import Mapping, Sequence

from compliance.reporting.batch import Finding

Values = Mapping[str, Mapping[str, int]]
"""Fen by return and cell."""
_CLASSES = ("normal", "special_mention", "substandard", "doubtful", "loss")


def add_up(
    of_cells: Mapping[str, Mapping[str, Mapping[str, Sequence[int]]]], ways: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, int]]:
    """Return the company's cells from those of its database cells.

    `ways`, by return and cell: `sum` of all values, the largest (`max`), the sum of the `ten` largest.
    """
    total: dict[str, dict[str, int]] = {}
    for name, cells in ways.items():
        for cell, way in cells.items():
            found = [fen for values in of_cells.values() for fen in values.get(name, {}).get(cell, ())]
            made = {"sum": sum(found), "max": max(found, default=0), "ten": sum(sorted(found)[-10:])}
            total.setdefault(name, {})[cell] = made[way]
    return total


def check_returns(values: Values, balances_503_fen: int) -> list[Finding]:
    """Return what does not agree: between returns, and with all IOUs together (`balances_503_fen`)."""
    g01, g03, g11, g04 = values["G01"], values["G03"], values["G11"], values["G04"]
    g14, g22, g40 = values["G14"], values["G22"], values["G40"]
    pairs = [
        ("G01", "loans", "G01 loans are the sum of 503", g01["loans"], balances_503_fen),
        ("G11", "total", "G11 total is G01 loans", g11["total"], g01["loans"]),
        ("G11", "total", "G11 rows of part I sum to its total", g11["individuals"] + g11["industries"],
         g11["total"]),
        # Every customer is a person, who lends to companies needs rows by industry.
        ("G11", "industries", "G11 lends to no company", g11["industries"], 0),
        ("G11", "total", "G11 classes sum to its total", sum(g11[c] for c in _CLASSES), g11["total"]),
        ("G01", "assets", "assets are liabilities and profit", g01["assets"],
         g01["liabilities"] + g01["profit"]),
        ("G04", "profit", "profit is income less impairment and marketing", g04["profit"],
         g04["interest_income"] + g04["fee_income"] - g04["impairment"] - g04["marketing"]),
        ("G03", "closing", "G03 rolls forward", g03["closing"],
         g03["opening"] + g03["set_aside"] + g03["recovered"] - g03["written_off"]),
        ("G03", "closing", "G03 closing is G01 provision", g03["closing"], -g01["provision"]),
        ("G14", "loans", "G14 loans are G01 loans", g14["loans"], g01["loans"]),
        ("G14", "ten_largest", "the ten largest are within all loans",
         min(g14["ten_largest"], g14["loans"]), g14["ten_largest"]),
        ("G14", "largest", "the largest is one of the ten", min(g14["largest"], g14["ten_largest"]),
         g14["largest"]),
        ("G22", "deposits", "G22 deposits are G01 deposits", g22["deposits"], g01["deposits"]),
        ("G22", "owed_to_funders", "G22 owed to funders is that of G01", g22["owed_to_funders"],
         g01["owed_to_funders"]),
        ("G22", "other_payables", "G22 payables are those of G01", g22["other_payables"],
         g01["other_payables"]),
        ("G40", "loans_net", "G40 loans net are G01 loans less provision", g40["loans_net"],
         g01["loans"] + g01["provision"]),
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
