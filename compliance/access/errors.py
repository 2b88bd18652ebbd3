"""What access control refuses, in one exception. No message says which part of a login was wrong."""

import enum


class Why(enum.StrEnum):
    """Why it is refused; the HTTP status stands beside it in `core_app/api/guard.py`."""

    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    INVALID = "invalid-request"
    BUSY = "too-many-logins"


class AccessRefused(Exception):
    """A request of somebody who may not, or cannot be told. `path` names the bad field of INVALID."""

    def __init__(self, why: Why, detail: str, path: str = "") -> None:
        super().__init__(detail)
        self.why = why
        self.detail = detail
        self.path = path
