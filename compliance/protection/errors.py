"""What can go wrong with protected data; no message ever carries a key or a clear value."""


class ProtectionError(Exception):
    """Base of this package's errors."""


class KeyFileError(ProtectionError):
    """The key file cannot be used; the message names the file, what was found and what is needed."""


class SelfTestFailed(ProtectionError):
    """An engine gave a wrong answer to a known question: nothing may start with it."""


class SealBroken(ProtectionError):
    """A stored field does not open: changed, moved to another row or column, or of another key."""
