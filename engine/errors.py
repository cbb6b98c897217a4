"""Errors a user can act on: every message names the field or file, the value and the remedy."""

from __future__ import annotations


class HardcaseError(Exception):
    """Base of every error shown to the user without a traceback; exit code 2 unless said otherwise."""

    exit_code = 2


class ConfigError(HardcaseError):
    """The configuration is wrong; the message lists every problem with its dotted path."""


class DataError(HardcaseError):
    """A data file is missing, broken or inconsistent; the message names it."""


class DamagedError(DataError):
    """A file that hardcase wrote differs from its checksum; the message names the command that makes it again."""


class StageError(HardcaseError):
    """A stage could not finish (diverged training, a lost worker, too few cases); what was done is kept."""

    exit_code = 1
