"""Every error that poise raises on purpose; nothing else lives here.

::

    PoiseError
    ├── ManifestError (ValueError)            the table of recordings does not say what it must
    ├── MediaError (ValueError)               a media file cannot be read as one
    │   ├── NoStreamError                     the file has no picture, or no sound
    │   ├── NotReadableNowError               it cannot be read for a reason that is not in its bytes
    │   └── DecoderDiedError                  the process that decoded it crashed or hung
    ├── ExtractSettingsError (ValueError)     usage: a setting of the extraction has a value it cannot have
    ├── EncoderError (ValueError)             an encoder cannot be built or run
    │   ├── UnknownEncoderError               usage: no encoder has that name
    │   └── WeightsNotFoundError (OSError)    the encoder's weights are not on this machine
    ├── ClusterError (OSError)                the Ray cluster cannot be reached, or gave up
    ├── StoreError
    │   ├── StoreNotFoundError (FileNotFoundError)
    │   ├── StoreWriteError (OSError)         full disk, no permission, read-only
    │   ├── StoreDamagedError (ValueError)    a file of the store is not what was written
    │   ├── StoreVersionError (ValueError)    the store is of a format that this poise does not read
    │   ├── StoreChangedError                 the store was compacted while it was read: open it again
    │   ├── StoreReadOnlyError (OSError)      an exported file cannot be written into
    │   ├── InvalidFeaturesError (ValueError) embeddings that must not be stored: NaN, too large, wrong shape
    │   ├── FeatureSetNotFoundError (LookupError)
    │   ├── AmbiguousFeatureSetError (LookupError)
    │   ├── FeaturesMissingError (LookupError)  the manifest asks for recordings that were not extracted
    │   └── ImportFormatError (ValueError)    features of others in a layout that is not understood
    ├── StrategyError (ValueError)            usage: a pooling, fusion or head that does not exist or does not fit
    ├── SplitError (ValueError)               labels, groups and folds that cannot be split as asked
    │   └── ProtocolError                     usage: a protocol that is not written as one
    ├── StudyError (ValueError)               a folder that is not a study, not a whole one, or of another layout
    ├── BundleError (ValueError)              a model file that is not a bundle, or not one for this
    ├── CancelledError                        whoever asked for a result no longer wants it
    ├── AppError (OSError)                    the app's server cannot be started, or ended by itself
    ├── NotConfirmedError                     usage: something is to be removed and nobody said yes
    ├── MissingDependencyError (ImportError)  an optional package is not installed
    └── OutputError (OSError)                 a result cannot be written where it should go

A message says what is wrong, what was got, what was expected and what to do next. Classes marked
*usage* end the command line with exit code 2, all others with 1.
"""

from __future__ import annotations


class PoiseError(Exception):
    """Base of every error that poise raises on purpose."""

    exit_code = 1


class ManifestError(PoiseError, ValueError):
    """The manifest does not say what it must; the message names the line."""


class MediaError(PoiseError, ValueError):
    """A media file cannot be read as one."""


class NoStreamError(MediaError):
    """The file has no picture, or no sound."""


class NotReadableNowError(MediaError):
    """A file cannot be read for a reason that is not in its bytes: it is gone, changes, or the machine lacks something.

    It is never held against the recording.
    """


class DecoderDiedError(MediaError):
    """The process that decoded the file crashed, hung or was killed.

    Parameters
    ----------
    message : str
        What happened.
    again : bool
        Whether it may go better in a new process.
    """

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


class ExtractSettingsError(PoiseError, ValueError):
    """A setting of the extraction has a value that it cannot have."""

    exit_code = 2


class EncoderError(PoiseError, ValueError):
    """An encoder cannot be built or run."""


class UnknownEncoderError(EncoderError):
    """No encoder has that name."""

    exit_code = 2


class WeightsNotFoundError(EncoderError, OSError):
    """The weights of an encoder are neither in the cache nor reachable."""


class ClusterError(PoiseError, OSError):
    """The Ray cluster cannot be reached, or gave up; what was finished is stored."""


class StoreError(PoiseError):
    """Base of the feature store's errors."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no feature store at that path."""


class StoreWriteError(StoreError, OSError):
    """The store cannot be written: full disk, no permission, read-only file system."""


class StoreDamagedError(StoreError, ValueError):
    """A file of the store is not what was written."""


class StoreVersionError(StoreError, ValueError):
    """The store is of a format that this version of poise does not read."""


class StoreChangedError(StoreError):
    """A segment is gone since the store was opened; opening it again finds what was in it elsewhere."""


class StoreReadOnlyError(StoreError, OSError):
    """An exported file is not written into; only a store's folder is."""


class InvalidFeaturesError(StoreError, ValueError):
    """Embeddings that must not be stored: not finite, out of range or of the wrong shape."""


class FeatureSetNotFoundError(StoreError, LookupError):
    """The store has no feature set of that name."""


class AmbiguousFeatureSetError(StoreError, LookupError):
    """More than one feature set answers to that name."""


class FeaturesMissingError(StoreError, LookupError):
    """The manifest names recordings that the store has no features of."""


class ImportFormatError(StoreError, ValueError):
    """Features made elsewhere, in a layout that is not understood."""


class StrategyError(PoiseError, ValueError):
    """A pooling, fusion or head that does not exist, or that do not fit together."""

    exit_code = 2


class SplitError(PoiseError, ValueError):
    """Labels, groups and folds that cannot be split as asked."""


class ProtocolError(SplitError):
    """A validation protocol that is not written as one."""

    exit_code = 2


class StudyError(PoiseError, ValueError):
    """A folder that is not a study, not a whole one, or of a layout that is not read here."""


class BundleError(PoiseError, ValueError):
    """A model file that is not a bundle, or not one that can be served here."""


class CancelledError(PoiseError):
    """Whoever asked for a result no longer wants it."""


class AppError(PoiseError, OSError):
    """The app's server cannot be started as asked, or ended by itself."""


class NotConfirmedError(PoiseError):
    """Something is to be removed, and nobody said yes."""

    exit_code = 2


class MissingDependencyError(PoiseError, ImportError):
    """An optional package is not installed."""


class OutputError(PoiseError, OSError):
    """A result cannot be written where it should go."""
