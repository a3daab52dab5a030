"""Errors that a person can act on: each message names the thing, the limit and the next step.

A programmer's mistake raises ``ValueError`` instead, quoting the value.
"""


class NextGPTError(Exception):
    """Base of every error whose message is meant to be shown to the user as it stands."""


class MediaError(NextGPTError):
    """A file could not be read as a picture, sound or clip."""


class LimitError(NextGPTError):
    """Input is well-formed but larger than a stated limit."""


class CheckpointError(NextGPTError):
    """A checkpoint is unknown, incomplete, corrupt or does not fit the code."""


class BusyError(NextGPTError):
    """The pipeline or the server cannot take this request now."""
