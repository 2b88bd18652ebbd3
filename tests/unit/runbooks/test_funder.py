"""`biyi funder` and the payer's settings, as far as they need no stand."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter

from core_app.errors import DocumentInvalid
from core_app.funding.funder import Funder
from core_app.funding.publish import Standing
from core_app.funding.settings import (
    ChannelSettings,
    PayerSettings,
    read_payer_settings,
    write_payer_settings,
)
from core_app.yaml_documents import parse_yaml
from replication.settings import SettingsError
from runbooks.funder import funder, summarise

FUNDER = TypeAdapter(Funder)


def example() -> str:
    done = CliRunner().invoke(funder, ["example"])
    assert done.exit_code == 0
    return done.output


def test_the_example_is_a_document_that_can_be_set() -> None:
    read = parse_yaml("example", example(), FUNDER)
    assert (read.id, read.quota.total_fen, str(read.share_min)) == ("bank_east", 10_000_000_000, "0.30")


def test_a_bad_document_is_refused_with_the_path_of_each_field(tmp_path: Path) -> None:
    text = (
        example().replace("per_loan_max_fen: 10000000 ", "per_loan_max_fen: -1 ").replace("speed_s", "speed")
    )
    with pytest.raises(DocumentInvalid, match=r"per_loan_max_fen.*speed_s|speed_s.*per_loan_max_fen"):
        parse_yaml("bank.yaml", text, FUNDER)
    (tmp_path / "bank.yaml").write_text(text, encoding="utf-8")
    done = CliRunner().invoke(funder, ["set", str(tmp_path / "bank.yaml")])
    assert done.exit_code == 1
    assert "bank.yaml" in done.output


def test_a_funder_is_shown_over_all_cells() -> None:
    text = parse_yaml("example", example(), FUNDER).model_dump_json()
    cells = {
        "a": {"bank_east": Standing("bank_east", text, 60, 20, None, 5, stopped=False)},
        "b": {"bank_east": Standing("bank_east", text, 40, 10, None, 0, stopped=True)},
    }
    (row,) = summarise(cells)
    assert (row["total_fen"], row["used_fen"], row["day_fen"], row["day_used_fen"]) == (100, 30, None, 5)
    assert (row["stopped"], row["cells"]) == (True, 2)


def test_channels_are_ranked_by_the_products_kinds_then_by_their_own_order(tmp_path: Path) -> None:
    channels = (
        ChannelSettings("card", "third_party", "http://c"),
        ChannelSettings("bank_a", "bank_transfer", "http://a"),
        ChannelSettings("bank_b", "bank_transfer", "http://b"),
    )
    settings = PayerSettings(channels, 1)
    assert settings.ranked(("bank_transfer", "third_party")) == ("bank_a", "bank_b", "card")
    assert settings.ranked(("cheque",)) == ()
    write_payer_settings(tmp_path / "channels.json", settings)
    assert read_payer_settings(tmp_path / "channels.json") == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"channels": [], "status_port": 1, "answer_s": 9}', "lease_s must be above"),
        ('{"channels": [], "status_port": 1, "patience": 9}', "patience"),
        (
            '{"channels": [{"name": "a", "kind": "k", "url": ""}, {"name": "a", "kind": "k", "url": ""}],'
            '"status_port": 1}',
            "stands twice",
        ),
    ],
)
def test_bad_settings_are_refused_with_file_and_reason(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "channels.json"
    with pytest.raises(SettingsError, match="no such file"):
        read_payer_settings(path)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=message):
        read_payer_settings(path)
