"""Everything that can go wrong, as one tree. The message of each is a sentence a person may read.

::

    SpecTaclesError
    ├── InputError            the person's file is at fault; other files go on
    │   ├── NotAudioError     not an audio file, or nothing in it to hear
    │   └── TooLongError      longer than the configured limit
    ├── OutputError           a stem could not be written (full disk, unwritable folder)
    ├── ModelError            a preset cannot be used
    │   ├── ModelMissingError     its files are not here
    │   ├── ChecksumError         a file is not the one that the manifest names
    │   └── NoNetworkError        it could not be fetched
    ├── EngineError           there is no engine to separate with
    ├── PoisonousError        the song killed or hung the engine twice
    └── CancelledError        the person changed their mind
"""


class SpecTaclesError(Exception):
    """Base of all errors of this project; ``str()`` is one clear sentence without a final stop."""


class InputError(SpecTaclesError):
    """The file that a person sent cannot be separated."""


class NotAudioError(InputError):
    """The file is not audio, or holds none."""


class TooLongError(InputError):
    """The song is longer than the limit, or took too long to decode."""


class OutputError(SpecTaclesError):
    """A stem could not be written."""


class ModelError(SpecTaclesError):
    """A preset or one of its models cannot be used."""


class ModelMissingError(ModelError):
    """A file that the preset needs is not on this machine."""


class ChecksumError(ModelError):
    """The SHA-256 of a file differs from the manifest's."""


class NoNetworkError(ModelError):
    """A download failed because the source could not be reached."""


class EngineError(SpecTaclesError):
    """The engine cannot be started, or is closed."""


class PoisonousError(SpecTaclesError):
    """A song killed or hung the engine twice, and is not tried again."""


class CancelledError(SpecTaclesError):
    """The job was cancelled between two chunks."""


MISTAKE_OF_OURS = "something went wrong in SpecTacles itself"
"""What a person reads of an error that is none of these; a log has the rest."""


def error_of(name: str, sentence: str) -> SpecTaclesError:
    """The error of that class name, as it came out of another process."""
    found = [SpecTaclesError]
    for kind in found:
        found += kind.__subclasses__()
    return next((kind for kind in found if kind.__name__ == name), SpecTaclesError)(sentence)
