"""Errors a user can act on: every message names the field or file, the value and the remedy."""

from __future__ import annotations

import signal
from collections.abc import Mapping


class HardcaseError(Exception):
    """Base of every error shown to the user without a traceback; exit code 2 unless said otherwise."""

    exit_code = 2


class ConfigError(HardcaseError):
    """The configuration is wrong; the message lists every problem with its dotted path."""


class DataError(HardcaseError):
    """A data file is missing, broken or inconsistent; the message names it."""


class TooFewGroupsError(DataError):
    """Classes have fewer groups (patients, lesions) than there are parts, folds or sets to fill.

    ``too_few`` maps each such class to its groups. The message tells the facts; remedies are found by trying them.
    """

    def __init__(self, message: str, too_few: Mapping[str, int]) -> None:
        """Take the message and the classes."""
        super().__init__(message, dict(too_few))
        self.too_few = dict(too_few)

    def __str__(self) -> str:
        """Return the message alone."""
        return str(self.args[0])


class StoppedError(BaseException):
    """SIGTERM or SIGHUP asked the program to stop; like KeyboardInterrupt it is no mistake that anything may swallow."""

    def __init__(self, number: int) -> None:
        """Take the signal's number."""
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """The signal's name, for example SIGTERM."""
        return signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """128 and the signal's number: 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.number


class DamagedError(DataError):
    """A file that hardcase wrote differs from its checksum; the message names the command that makes it again."""


class StoreError(HardcaseError):
    """An object store refuses, is silent or damaged; the message names its URL. What was finished is kept."""


class FencedError(StoreError):
    """Another process took over what this one was writing, while this one did not answer."""


class StageError(HardcaseError):
    """A stage could not finish (diverged training, a lost worker, too few cases); what was done is kept."""

    exit_code = 1


class MachineError(StageError):
    """The machine stopped it: memory, rights, limits, a device, an installation. What was finished is kept."""


class NoMemoryError(MachineError):
    """There is not enough memory; the message names what needs less."""


class FullDiskError(StageError):
    """A disk is full; the message names the file or folder. What was finished is kept, and a rerun goes on."""

    @classmethod
    def at(cls, place: object) -> FullDiskError:
        """Return the error for a file or folder."""
        return cls(
            f"{place}: no space left on device; free some on that disk, or give another output folder, then rerun to resume"
        )
