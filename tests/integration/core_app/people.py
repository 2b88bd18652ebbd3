"""Members of staff with an open session, without the time that real passwords take."""

from typing import Any

from compliance.access.roles import Role
from core_app.staff.portal import Portal

STAFF_ONLY = (
    *("/v1/campaigns", "/v1/coupons", "/v1/staff/", "/v1/limits", "/v1/pre-screens", "/v1/reversals"),
    *("/v1/segments", "/v1/strategies", "/v1/write-offs"),
)
TWO_PEOPLE = ("/v1/campaigns", "/v1/coupons", "/v1/write-offs", "/v1/strategies", "/v1/segments")
_SEAT = """
insert into access.accounts (staff, branch, roles, password_hash, password_given, totp_secret, totp_confirmed)
values (%(staff)s, 'branch-7', %(roles)s, %(hash)s, false, %(sealed)s, true)
on conflict (staff) do update set roles = excluded.roles
"""
_SESSION = """
insert into access.sessions (token_digest, staff, scope, address, terminal)
values (%(digest)s, %(staff)s, 'full', '127.0.0.1', 'branch-7-12')
on conflict do nothing
"""


NOBODYS = "$argon2id$v=19$m=19456,t=2,p=1$WwEhjFVK+hgfDV9ShMamTg$6bl3m39g6WrhW86kkKtKMVfLENKdBW8g0RygI4V3iII"
"""A well-formed hash that no password of these tests opens."""


def token_of(staff: str) -> str:
    return f"s1.token-of-{staff}"


def bearer_of(staff: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_of(staff)}"}


LI, WANG = bearer_of("li.wei"), bearer_of("wang.fang")


async def seat(portal: Portal, staff: str, *roles: Role) -> dict[str, str]:
    """Make an account with a session at branch-7-12; returns the header that speaks for it."""
    desk = portal.desk
    values = {
        "staff": staff,
        "hash": NOBODYS,
        "roles": [str(role) for role in roles],
        "sealed": desk.seal(staff, "00" * 20),
        "digest": desk.token_digest(token_of(staff)),
    }

    async def work(connection: Any) -> None:
        await connection.execute(_SEAT, values)
        await connection.execute(_SESSION, values)

    await desk.directory.write(work)
    return bearer_of(staff)
