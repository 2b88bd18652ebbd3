"""What can go wrong with control evidence."""


class ControlsError(Exception):
    """Base of this package's errors; the message says what was found, where, and what is needed."""


class CatalogueInvalid(ControlsError):
    """A file of the catalogue is not as it must be; names the file and the row."""


class AttestationRefused(ControlsError):
    """An attestation, or its confirmation, that the rules do not take."""


class PackUnreadable(ControlsError):
    """A file is no evidence pack at all."""
