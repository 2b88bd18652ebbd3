"""What can go wrong with the audit trail itself; a finding about an export is no error but a value."""


class AuditError(Exception):
    """Base of this package's errors."""


class ExportUnreadable(AuditError):
    """A file is no export of ours, or cannot be read; the message says where and what is needed."""


class AuditKeyError(AuditError):
    """A signing key or a list of public keys cannot be used; the message names the file and the field."""
