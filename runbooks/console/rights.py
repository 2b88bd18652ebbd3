"""Which page is for whom. Pure.

The core decides about every figure of a person or a case anew; this table keeps pages away from who has no
work there, and says which of them somebody is led to.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from compliance.access.roles import Role

_SYSTEM, _SECURITY, _AUDIT = Role.SYSTEM_ADMIN, Role.SECURITY_ADMIN, Role.AUDIT_ADMIN
_LEADS = (Role.SUPERVISOR, Role.OPERATIONS)


@dataclass(frozen=True, slots=True)
class Section:
    """One entry of the navigation: its path, which begins those of all its pages, its word, whose it is."""

    path: str
    name: str
    roles: frozenset[Role]


def _section(path: str, *roles: Role) -> Section:
    return Section(path, path.removeprefix("/") or "platform", frozenset(roles))


SECTIONS: Final = (
    _section("/", _SYSTEM),
    _section("/drills", _SYSTEM),
    _section("/backups", _SYSTEM),
    _section("/deployments", _SYSTEM),
    _section("/reviews", _SECURITY, _AUDIT),
    _section("/approvals", _SECURITY, _AUDIT, Role.SUPERVISOR),
    _section("/trail", _SECURITY, _AUDIT),
    _section("/keys", _SECURITY, _AUDIT),
    _section("/level3", _SYSTEM, _SECURITY, _AUDIT),
    _section("/customers", Role.SERVICE, Role.CREDIT, Role.COLLECTION, *_LEADS),
    _section("/board", *_LEADS, _AUDIT),
    _section("/filings", *_LEADS, _AUDIT),
)
"""In the order of the navigation. Source: our choice, by the routes of the core that each page stands on:
no other role's work needs it (GB/T 22239-2019 8.1.4.2 d, least privilege)."""


def find_section(path: str) -> Section | None:
    """Return the section that a page belongs to.

    >>> find_section("/drills/runs/x").name, find_section("/").name, find_section("/nothing")
    ('drills', 'platform', None)
    """
    return next((one for one in SECTIONS if path == one.path or path.startswith(one.path + "/")), None)


def find_sections(roles: Collection[str]) -> tuple[Section, ...]:
    """Return what somebody with these roles may open, in the order of the navigation."""
    return tuple(one for one in SECTIONS if one.roles.intersection(roles))


def may_open(path: str, roles: Collection[str]) -> bool:
    """Say whether somebody with these roles may open a page; a page of no section is nobody's."""
    section = find_section(path)
    return section is not None and bool(section.roles.intersection(roles))
