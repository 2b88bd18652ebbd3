"""What of the site's keys each process is given: whoever takes a pod over has its own, and no more. Pure.

Secret `biyi-keys` has a password of each database role in a file of its own. A pod's volume names the files
that its process needs; the others are not in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

RING = ("ring.json", "root.key")
VALKEY = ("valkey",)
ROLES = (
    "biyi_admin", "biyi_repl", "biyi_owner", "biyi_app", "biyi_payer", "biyi_notices", "biyi_staff",
    "biyi_read", "biyi_audit", "biyi_report", "biyi_ueba",
)  # fmt: skip
"""All that log in at a copy (`replication.postgres.copy.ROLES`)."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a process is given: the roles that it logs in as, and files."""

    roles: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def items(self) -> tuple[str, ...]:
        """Return the names of the Secret's files that hold it."""
        return tuple(password_of(role) for role in self.roles) + self.files


GIVEN = {
    # It makes the roles with a cell's first primary, so it has to know every password.
    "copy": Given(ROLES),
    # Backups are sealed with a key of the ring; only the copy that keeps the cell's archive needs it.
    "archived-copy": Given(ROLES, RING),
    "api": Given(("biyi_app", "biyi_staff"), RING + VALKEY),
    "payer": Given(("biyi_payer", "biyi_notices"), RING),
    "projector": Given(("biyi_read",), VALKEY),
    "notary": Given(("biyi_audit",)),
    "watcher": Given(("biyi_ueba",), RING + VALKEY),
    "day-end": Given(("biyi_app",), RING),
    "migrate": Given(("biyi_owner",)),
    "steward": Given(),
    "valkey": Given(files=VALKEY),
}
"""By process. A test compares it with every place in the code where somebody logs in or opens a key."""


def password_of(role: str) -> str:
    """Return the name of the file with a role's line of a password file.

    >>> password_of("biyi_app")
    'pgpass.biyi_app'
    """
    return f"pgpass.{role}"


def lay_out(given: Given, source: str, target: str, more: Sequence[str] = ()) -> str:
    """Return the shell's words that copy what is given, and `more`, as files that only their user can read.

    libpq ignores a password file that a group can read; under fsGroup a group can read a Secret's files. The
    roles' lines become one file, `pgpass`.

    >>> lay_out(Given(("biyi_app",), ("valkey",)), "/s", "/k")
    'umask 077 && cat /s/pgpass.biyi_app >/k/pgpass && install -m 0600 -t /k /s/valkey'
    >>> lay_out(Given(), "/s", "/k")
    'umask 077'
    """
    steps = ["umask 077"]
    if given.roles:
        lines = " ".join(f"{source}/{password_of(role)}" for role in given.roles)
        steps.append(f"cat {lines} >{target}/pgpass")
    files = [*(f"{source}/{name}" for name in given.files), *more]
    if files:
        steps.append(f"install -m 0600 -t {target} {' '.join(files)}")
    return " && ".join(steps)
