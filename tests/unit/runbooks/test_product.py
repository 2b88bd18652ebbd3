"""`biyi product`: what it prints, and its exit codes."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from core_app.errors import DocumentInvalid
from core_app.products.catalogue import FOLDER, read_catalogue
from core_app.sandbox.compare import Difference, RuleChange
from runbooks.cli import main
from runbooks.product import find_document, refuse_shipped_change
from runbooks.sandbox import show_difference
from tests.unit.core_app.product_documents import make_document, make_product, split_funding


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["product", *arguments])


def write(folder: Path, changes: dict[str, Any]) -> str:
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(make_document(changes), allow_unicode=True), encoding="utf-8")
    return str(file)


def test_the_shipped_products_are_listed_with_price_and_can_all_be_lent() -> None:
    found = run("list", "--json")
    rows = {row["product"]: row for row in json.loads(found.output)}
    assert found.exit_code == 0
    assert rows["instalment-12"]["all_in_simple"] == "0.1800"
    assert "cannot be lent yet" not in run("list").output


def test_the_shipped_documents_are_good() -> None:
    found = run("check", "--json")
    assert found.exit_code == 0
    assert [row["good"] for row in json.loads(found.output)] == [True] * 5


def test_a_refused_document_is_exit_one_with_rule_value_limit_day_and_source(tmp_path: Path) -> None:
    file = write(tmp_path, split_funding("0.2", "0.8"))
    found = run("check", file, "--json")
    (row,) = json.loads(found.output)
    assert (found.exit_code, row["good"], row["faults"]) == (1, False, [])
    (refusal,) = row["refusals"]
    assert (refusal["rule"], refusal["found"], refusal["on"]) == ("inet.joint", "0.2", "2026-01-01")
    assert "funding.parties.0.share: 0.2; inet.joint allows >= 0.30" in run("check", file).output
    assert run("publish", file).exit_code == 1


def test_a_price_of_the_grid_above_the_cap_is_not_published_and_named_by_its_path(tmp_path: Path) -> None:
    grid = [
        {"segment": "saver", "periods": periods, "rate_annual": rate}
        for periods, rate in ((6, "0.1"), (12, "0.25"))
    ]
    file = write(tmp_path, {"pricing.grid": grid, "pricing.all_in_ceiling": "0.3"})
    refused = run("check", file)
    assert refused.exit_code == 1
    assert (
        "pricing.grid.1.rate_annual: 0.2500; cap.all_in allows <= 0.24 share a year on 2026-01-01"
        in refused.output
    )
    assert "pricing.grid.0" not in refused.output
    assert run("publish", file).exit_code == 1


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "no YAML at line"), ("identity: 5", "identity: Input should be")]
)
def test_an_unreadable_document_is_exit_one_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "odd.yaml").write_text(text, encoding="utf-8")
    found = run("check", str(tmp_path / "odd.yaml"))
    assert found.exit_code == 1
    assert message in found.output


def test_a_file_that_is_not_there_is_named() -> None:
    found = run("check", "nowhere.yaml")
    assert found.exit_code == 1
    assert "nowhere.yaml: cannot be read" in found.output


def test_the_difference_is_told_parameter_by_parameter(tmp_path: Path) -> None:
    file = write(tmp_path, {"pricing.rate_annual": "0.17"})
    found = run("diff", "instalment-12@1", file, "--json")
    assert json.loads(found.output) == [{"path": "pricing.rate_annual", "before": "0.18", "after": "0.17"}]
    assert "no difference" in run("diff", "instalment-12", "instalment-12@1").output
    assert run("diff", "instalment-12", "no-such").exit_code == 1


def test_the_schema_is_json_and_as_a_table_names_every_reader() -> None:
    schema = json.loads(run("schema").output)
    assert "identity" in schema["required"]
    assert "core_app.loans.terms" in run("schema", "--table").output


def test_a_shipped_version_with_another_document_is_refused_before_any_cell_is_asked() -> None:
    catalogue = read_catalogue()
    refuse_shipped_change(find_document(str(FOLDER / "instalment-12.yaml")), catalogue)
    refuse_shipped_change(make_product({"identity.version": 2, "tenor.periods": [3]}), catalogue)
    with pytest.raises(DocumentInvalid, match=r"\(tenor\.periods differ\): needs a higher version"):
        refuse_shipped_change(make_product({"tenor.periods": [3]}), catalogue)


def test_a_sandboxs_examples_and_rules_stand_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    loan, rule = "018f9a4e-7c2b-7f00-9c1a-0123456789ab", "class5.special_mention"
    change = RuleChange("contract", rule, "refused_now", "0.24", "0.20", 1234, [loan, loan[::-1]])
    show_difference(Difference(dt.date(2027, 1, 1), {"contract": 2000}, {}, (change,), ()))
    told = capsys.readouterr().out
    table, _, examples = told.partition("examples\n")
    assert rule in table
    assert examples.splitlines() == [f"  contract {rule}: {one}" for one in (loan, loan[::-1])]
