"""Every error aurl raises on purpose."""


class AurlError(Exception):
    """Base class: caught at the command line, printed as one line, exit code 2 or as it says."""


class ConfigError(AurlError, ValueError):
    """A configuration, search space or option is wrong; the message names the key to change."""


class DataError(AurlError):
    """A corpus or a MIDI file cannot be used; the message names the file and the reason."""


class OutageError(AurlError):
    """What a sweep stands on is gone, such as Ray; once it is back, the sweep can be resumed."""


class StorageError(OutageError):
    """A disk or a store does not take what is written."""


class SweepError(AurlError):
    """A sweep cannot start, resume or be read; the message says what to do."""


class RunFailedError(SweepError):
    """A run came to an end that is no result; exit code 1."""
