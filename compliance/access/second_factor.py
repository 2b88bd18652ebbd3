"""Time-based one-time codes (RFC 6238) as authenticator apps make them: 6 digits, 30 s, SHA-1."""

import secrets

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor import InvalidToken
from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP_SECONDS = 30
"""Source: RFC 6238 section 5.2, the default that apps use."""
_DIGITS = 6
_AROUND = (0, -1, 1)
"""Steps besides the current one that are taken, for clocks that differ. Source: RFC 6238 section 5.2."""
_SECRET_BYTES = 20


def make_secret() -> str:
    """Return a fresh secret, as hexadecimal digits."""
    return secrets.token_hex(_SECRET_BYTES)


def make_uri(secret: str, staff: str) -> str:
    """Return the otpauth:// address that authenticator apps read as a QR code."""
    return _totp(secret).get_provisioning_uri(staff, "Biyi")


def make_code(secret: str, now_s: float) -> str:
    """Return the code of this moment, as the app shows it."""
    return _totp(secret).generate(int(now_s)).decode()


def find_step(secret: str, code: str, now_s: float) -> int | None:
    """Return the time step that `code` is right for, None when it is wrong now."""
    current = int(now_s) // STEP_SECONDS
    for step in (current + around for around in _AROUND):
        try:
            _totp(secret).verify(code.encode(), step * STEP_SECONDS)
        except InvalidToken:
            continue
        return step
    return None


def _totp(secret: str) -> TOTP:
    return TOTP(bytes.fromhex(secret), _DIGITS, SHA1(), STEP_SECONDS)  # noqa: S303 - what apps can do
