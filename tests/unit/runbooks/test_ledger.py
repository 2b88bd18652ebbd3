"""`biyi ledger balances`: sums over cells, and what is not balanced by the dimensions asked for."""

from click.testing import CliRunner

from core_app.ledger.balances import Balance
from runbooks.ledger import add_up, find_unbalanced, ledger


def balance(account: str, values: tuple[str, ...], fen: int) -> Balance:
    return Balance(account, "in English", "中文", values, fen, 1)


def test_cells_are_added_up_and_a_combination_that_is_off_is_named() -> None:
    cells = [
        balance("1303", ("app", "44"), 700),
        balance("1002", ("app", "44"), -700),
        balance("1303", ("app", "44"), 50),
        balance("1002", ("app", "44"), -50),
        balance("1303", ("web", "11"), 5),
        balance("1002", ("web", "31"), -5),
    ]
    sums = add_up(cells)
    assert sums[("1303", "中文 in English", ("app", "44"))] == 750
    assert find_unbalanced(sums) == [("web", "31"), ("web", "11")]
    assert find_unbalanced(add_up(cells[:4])) == []


def test_dimensions_are_asked_for_by_their_names() -> None:
    refused = CliRunner().invoke(ledger, ["balances", "--by", "colour"])
    assert refused.exit_code == 2
    assert "'product', 'channel', 'funder', 'region'" in refused.output
