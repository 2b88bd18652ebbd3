"""What can go wrong with protected data; no message ever carries a key or a clear value."""


class ProtectionError(Exception):
    """Base of this package's errors."""


class KeyFileError(ProtectionError):
    """The key file cannot be used; the message names the file, what was found and what is needed."""


class SelfTestFailed(ProtectionError):
    """An engine gave a wrong answer to a known question: nothing may start with it."""


class SealBroken(ProtectionError):
    """A stored field does not open: changed, moved to another row or column, or of another key."""


class SubjectShredded(SealBroken):
    """The key of this customer was destroyed on purpose: the value can never be opened again."""


class RingRefused(ProtectionError):
    """A change of a key ring that is not allowed as the ring stands; nothing was changed."""


class RingFileError(KeyFileError):
    """A key ring's files cannot be used; the message names the file, what was found and what is needed."""


class RootUnavailable(ProtectionError):
    """The root key's device or service did not do what was asked; the message says which and what."""


class ApprovalRefused(ProtectionError):
    """A root operation lacks valid approvals of two holders; the message says what is missing."""
