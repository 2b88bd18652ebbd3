"""Each Level-3 check: a plan that keeps it, plans that do not; the same list as the engine's policy pack."""

import re
from typing import Any

import pytest
from pulumi_policy import PolicyResource, PolicyResourceOptions, StackValidationArgs, StackValidationPolicy
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from infra.plan import UNKNOWN, Plan, Planned
from infra.policy import CHECKS, check_plan
from infra.policy_pack.pack import make_policies
from tests.unit.infra.plans import PLANS

BAD = [(name, number) for name, (_, bad) in PLANS.items() for number in range(len(bad))]


def _found(name: str, plan: Plan) -> list[str]:
    return [finding.wrong for finding in check_plan(plan) if finding.check.name == name]


def test_every_check_has_plans_and_names_controls_of_the_standard() -> None:
    assert [check.name for check in CHECKS] == list(PLANS)
    for check in CHECKS:
        assert check.controls
        assert all(re.fullmatch(r"8\.[12]\.\d+\.\d+( [a-f])?", control) for control in check.controls)


@pytest.mark.parametrize("name", PLANS)
def test_a_good_plan_has_no_finding(name: str) -> None:
    assert _found(name, PLANS[name][0]) == []


@pytest.mark.parametrize(("name", "number"), BAD)
def test_a_bad_plan_is_found(name: str, number: int) -> None:
    assert _found(name, PLANS[name][1][number])


@pytest.mark.parametrize("name", PLANS)
def test_the_policy_pack_finds_what_the_list_finds(name: str) -> None:
    policy = next(policy for policy in make_policies() if policy.name == name)
    assert isinstance(policy, StackValidationPolicy)
    assert policy.validate is not None
    for plan in (PLANS[name][0], *PLANS[name][1]):
        told: list[str] = []
        policy.validate(
            StackValidationArgs(_resources(plan)), lambda text, urn=None, told=told: told.append(text)
        )
        assert [text.split(": ", 1)[1].rsplit("; needs", 1)[0] for text in told] == _found(name, plan)


def _resources(plan: Plan) -> list[PolicyResource]:
    def options(planned: Planned) -> PolicyResourceOptions:
        return PolicyResourceOptions(planned.protect, [], None, [], None, [])  # type: ignore[arg-type]

    return [
        PolicyResource(
            p.type,
            unknown_checking_proxy(_of_the_engine(p.props)),
            f"urn:pulumi:{p.name}",
            p.name,
            options(p),
            None,
            None,
            [],
            {},
        )
        for p in plan
    ]


def _of_the_engine(value: Any) -> Any:
    """Return properties as the engine hands them over: what is not known yet is a word of its own."""
    match value:
        case dict():
            return {key: _of_the_engine(item) for key, item in value.items()}
        case list():
            return [_of_the_engine(item) for item in value]
    return UNKNOWN_STRING_VALUE if value is UNKNOWN else value


def test_a_finding_says_resource_wrong_and_control() -> None:
    (finding,) = check_plan((Planned("alicloud:log/store:Store", "flows", {"retentionPeriod": 30}, True),))
    assert str(finding) == (
        "alicloud:log/store:Store flows: retentionPeriod is 30 days; needs: audit on, kept 180 days "
        "(8.1.4.3 a, 8.1.5.4 d, 8.2.3.3 a)"
    )


def test_what_only_the_cloud_will_know_counts_as_given_but_equals_nothing() -> None:
    planned = Planned("t", "n", {"key": UNKNOWN})
    assert planned.at("key.deeper") is UNKNOWN
    assert planned.at("other") is None
    assert list(planned.rows("key")) == []
