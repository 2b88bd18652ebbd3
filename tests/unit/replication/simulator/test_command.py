"""`biyi sim`: what its exit codes and its JSON say."""

import json

from click.testing import CliRunner, Result

from replication.simulator.mutations import MUTATIONS
from runbooks.sim import sim_command


def sim(*arguments: str) -> Result:
    return CliRunner().invoke(sim_command, arguments)


def test_exits_0_and_says_what_was_reached_when_no_rule_broke():
    result = sim("--schedules", "30", "--processes", "1", "--json")
    said = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (said["schedules"], said["violations"]) == (30, [])
    assert said["decisions"]["take primary_site_silent"] > 0


def test_exits_1_with_a_seed_that_replays_when_a_rule_is_broken():
    broken = sim("--schedules", "200", "--processes", "1", "--mutation", "promote-alone", "--json")
    violation = json.loads(broken.stdout)["violations"][0]
    again = sim("--replay", str(violation["seed"]), "--mutation", "promote-alone", "--json")
    assert (broken.exit_code, again.exit_code) == (1, 1)
    assert json.loads(again.stdout)["smallest"] == violation


def test_exits_2_for_a_mutation_there_is_not():
    assert sim("--mutation", "no-such-rule").exit_code == 2


def test_lists_every_mutation_with_the_rules_that_find_it():
    rows = json.loads(sim("--list-mutations", "--json").stdout)
    assert [row["name"] for row in rows] == list(MUTATIONS)
    assert all(row["rules"] for row in rows)
