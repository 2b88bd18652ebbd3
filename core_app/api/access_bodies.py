"""Request bodies and answers of logins, accounts and approvals. Pure."""

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from compliance.access.roles import Role
from core_app.api.bodies import REQUEST

_DEEPEST = 5


def _check_plain(value: Any, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise ValueError("needs an object that is not nested so deep")
    if isinstance(value, str) and any(unicodedata.category(one) in {"Cc", "Cs"} for one in value):
        raise ValueError("needs texts without control characters")
    if isinstance(value, dict | list):
        for one in [*value, *value.values()] if isinstance(value, dict) else value:
            _check_plain(one, depth + 1)
    return value


StaffName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{1,39}$", examples=["li.wei"])]
Branch = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,19}$", examples=["branch-7"])]
Secret = Annotated[str, Field(min_length=1, max_length=128, examples=["correct-Horse-7-battery"])]
Code = Annotated[str, Field(pattern=r"^[0-9]{6}$", examples=["123456"])]
RoleName = Annotated[Role, Field(strict=False, examples=["service"])]
ApprovalId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", examples=["0123456789abcdef" * 2])]
Instant = Annotated[str, Field(examples=["2026-01-15T02:03:04.000005+00:00"])]


class LoginRequest(BaseModel):
    """Who logs in."""

    model_config = REQUEST
    staff: StaffName
    password: Secret
    code: Code | None = Field(default=None, description="Of the authenticator app, where one is set up.")


class LoginAnswer(BaseModel):
    """An open session. `scope`: `full`, or what has to be done first (`password`, `enrol`)."""

    token: str = Field(description="Told once; send it as Authorization: Bearer.", examples=["s1.Zx0"])
    staff: StaffName
    roles: list[RoleName]
    scope: Literal["full", "password", "enrol"]


class MeAnswer(BaseModel):
    """Who the session belongs to."""

    staff: StaffName
    branch: Branch
    roles: list[RoleName]
    scope: Literal["full", "password", "enrol"]


class PasswordRequest(BaseModel):
    """A new password for one's own account."""

    model_config = REQUEST
    old_password: Secret
    new_password: Secret


class SecondFactorAnswer(BaseModel):
    """A second factor to be set up: shown once."""

    secret: str = Field(examples=["00112233445566778899aabbccddeeff00112233"])
    uri: str = Field(
        description="For the app, as a QR code.", examples=["otpauth://totp/Biyi:li.wei?secret=X"]
    )


class CodeRequest(BaseModel):
    """Proof that the secret arrived."""

    model_config = REQUEST
    code: Code


class DoneAnswer(BaseModel):
    """It is done."""

    done: Literal[True] = True


class AccountRequest(BaseModel):
    """A new account, without any role."""

    model_config = REQUEST
    staff: StaffName
    branch: Branch


class FirstPasswordAnswer(BaseModel):
    """A first password, good only to be changed; told once."""

    staff: StaffName
    password: Secret


class RolesRequest(BaseModel):
    """Exactly the roles that somebody has from now on."""

    model_config = REQUEST
    roles: Annotated[list[RoleName], Field(max_length=len(Role))]


class AccountAnswer(BaseModel):
    """An account as it stands."""

    staff: StaffName
    branch: Branch
    roles: list[RoleName]
    disabled: bool
    locked: bool
    password_given: bool = Field(description="Somebody else knew it: it has to be changed.")
    password_until: Instant
    second_factor: bool
    used_at: Instant
    session_seen_at: Instant | None


class AccountList(BaseModel):
    """All accounts, by name."""

    accounts: list[AccountAnswer]


class ChangeAnswer(BaseModel):
    """One act on an account."""

    change_id: str
    staff: StaffName
    what: str = Field(examples=["roles_set"])
    detail: dict[str, Any] = Field(examples=[{}])
    done_by: str = Field(examples=["wang.fang"])
    approval: ApprovalId | None
    at: Instant


class ChangeList(BaseModel):
    """Acts on accounts, the newest first."""

    changes: list[ChangeAnswer]


class ApprovalRequest(BaseModel):
    """The request that takes two people, to the letter."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [{"method": "POST", "path": "/v1/write-offs", "body": {"reason": "x"}}]
        }
    )
    method: Literal["POST"]
    path: Annotated[str, Field(pattern=r"^/v1/[A-Za-z0-9._/-]{1,200}$", examples=["/v1/write-offs"])]
    body: Annotated[dict[str, Any], AfterValidator(_check_plain)] = Field(default_factory=dict, examples=[{}])


class Decision(BaseModel):
    """Approve or refuse."""

    model_config = REQUEST
    granted: bool


class ApprovalAnswer(BaseModel):
    """One request that takes two people, and how far it is."""

    approval_id: ApprovalId
    route: str = Field(examples=["POST /v1/write-offs"])
    shown: dict[str, Any] = Field(examples=[{}])
    needs: RoleName
    state: Literal["open", "granted", "refused", "used", "expired"]
    asked_by: StaffName
    asked_at: Instant
    expires_at: Instant
    decided_by: StaffName | None
    decided_at: Instant | None
    granted: bool | None
    used_at: Instant | None


class ApprovalList(BaseModel):
    """Requests that take two people, the newest first."""

    approvals: list[ApprovalAnswer]
