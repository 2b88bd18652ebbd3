"""What `biyi cells` and `biyi why` make of the agents' answers."""

from datetime import UTC, datetime

from replication.failover.decide import decide
from replication.failover.states import Why
from replication.journal import encode
from replication.model import Site
from replication.settings import FailoverSettings
from runbooks.cell_facts import REASONS, explain
from runbooks.cells import summarise
from tests.unit.replication.test_decide import SYNC, seen, serving

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def status(site: str, *, answers: bool = True) -> dict[str, object]:
    snapshot = seen(serving(), SYNC)
    facts = {"seen": encode(snapshot), "decision": encode(decide(snapshot, FailoverSettings())), "down": None}
    return {
        "site": site,
        "etcd_answers": answers,
        "grants": {"a": encode(SYNC)},
        "places": {"a-idc-0": facts},
    }


def test_every_reason_is_told_in_words():
    assert set(REASONS) == set(Why)


def test_a_cell_shows_its_epoch_primary_and_lag():
    (row,) = summarise({Site.IDC: status("idc")}, NOW)
    assert (row["epoch"], row["primary"], row["sync_set"]) == (5, "a-idc-0", ["a-cloud-0"])
    assert row["replay_lag_bytes"] == 0


def test_an_agent_without_etcd_is_not_believed_about_grants():
    assert summarise({Site.IDC: status("idc", answers=False)}, NOW) == []


def test_why_names_the_role_the_grant_and_the_evidence():
    places = status("idc")["places"]
    text = "\n".join(explain("a-idc-0", places["a-idc-0"]))
    assert "granted primary" in text
    assert "epoch 5" in text
    assert "beats unchanged idc 0 ms" in text
