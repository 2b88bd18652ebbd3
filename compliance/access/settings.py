"""Limits of access control. Thresholds of level 3 are checked here: a setting cannot be weaker."""

from dataclasses import dataclass

_LEVEL_3 = {
    "password_length": (8, 128),
    "password_classes": (3, 4),
    "password_days": (1, 90),
    "password_history": (1, 24),
    "lock_after": (3, 10),
    "lock_minutes": (10, 24 * 60),
    "idle_minutes": (1, 30),
    "hard_minutes": (1, 12 * 60),
}
"""Least and most that pass. Source: GB/T 22239-2019 8.1.4.1 a and b as assessors read them (length >= 8, >= 3
classes, age <= 90 d, history >= 1; lock at 3 to 10 failures for >= 10 min; idle <= 30 min, hard <= 12 h)."""


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Limits of passwords, logins, sessions, approvals and exports; ValueError when weaker than level 3."""

    password_length: int = 12
    """Least characters. Source: our choice above level 3's 8, a guess costs us a tenth of a second."""
    password_classes: int = 3
    """Of lower case, upper case, digits, others. Source: level 3."""
    password_distinct: int = 6
    """Least different characters. Source: our choice, half of the length."""
    password_days: int = 90
    """After this a password only serves to be changed. Source: level 3."""
    password_history: int = 5
    """Earlier passwords that cannot be taken again. Source: our choice above level 3's 1."""
    lock_after: int = 5
    """Failures in a row that lock an account. Source: level 3's common value."""
    lock_minutes: int = 15
    """How long it stays locked unless a security administrator unlocks it. Source: level 3's common value."""
    idle_minutes: int = 15
    """A session ends when nothing was asked for so long. Source: our choice, half of level 3's most."""
    hard_minutes: int = 8 * 60
    """A session ends in any case. Source: our choice, a working day; level 3's most is 12 h."""
    touch_seconds: int = 60
    """A session's use is written down at most this often. Source: our choice, a fifteenth of idle_minutes."""
    unused_days: int = 90
    """An account unused for longer cannot log in. Source: GB/T 22239-2019 8.1.4.2 c."""
    approval_minutes: int = 60
    """An approval not used by then is void. Source: our choice, one meeting's length."""
    export_rows: int = 200
    """Most customers in one export. Source: our choice, one collector's weekly list."""
    export_rows_a_day: int = 500
    """Most rows one member of staff exports in 24 hours. Source: our choice, the hard case of the behaviour
    generator's night export."""
    clear_looks_a_day: int = 20
    """Looks at clear values by one person in 24 hours without a second one. Source: our choice."""
    hashes_at_once: int = 2
    """Passwords checked at once by a process. Source: our choice: 19 MiB and 0.1 s of a core each."""

    def __post_init__(self) -> None:
        for name, (least, most) in _LEVEL_3.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}: level 3 needs {least} to {most}")
        if self.touch_seconds >= 60 * self.idle_minutes or self.idle_minutes > self.hard_minutes:
            raise ValueError("needs touch_seconds < idle_minutes <= hard_minutes")
