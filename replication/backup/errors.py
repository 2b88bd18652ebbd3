"""What can go wrong with backups; no message carries a key or a row."""


class BackupError(Exception):
    """Base of this package's errors: says what was found, where, and what is needed."""


class ArchiveBroken(BackupError):
    """A file of the archive is not what was written: changed, cut, re-ordered, moved, or of another key."""


class TargetOutsideArchive(BackupError):
    """The wanted instant is not in the archive; the message names the range that is."""


class ArchiveBusy(BackupError):
    """Another backup of the cell is being taken here; the next one has to wait for it."""
