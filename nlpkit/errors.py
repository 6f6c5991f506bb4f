"""Every error that a user's input, files or machine can cause, drawn as one tree.

    NlpkitError
    ├── InputError            a value that cannot be used (also a ValueError)
    ├── InputTypeError        an argument of the wrong type (also a TypeError)
    ├── UnknownNameError      a task, head, engine or recipe nobody has registered
    ├── DataError             a bad line in a data file: file, line, what was expected
    ├── BundleError           a bundle or task pack that is missing, altered or does not fit
    ├── StoreError            an index or its database that is missing, locked or damaged
    ├── MissingExtraError     an absent dependency, with the pip command (also an ImportError)
    ├── OutputExistsError     a file that is kept unless told to overwrite (a FileExistsError)
    ├── JobError              a job that did not come to its end
    └── TrainingError         a training that cannot go on

Anything else that escapes from nlpkit is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

DISTRIBUTION = "nlpkit-bert"


class NlpkitError(Exception):
    """Base of all errors that say what was got, what was expected and what to do."""


class InputError(NlpkitError, ValueError):
    """A value that cannot be used."""


class InputTypeError(NlpkitError, TypeError):
    """An argument of the wrong type."""

    @classmethod
    def of(cls, argument: str, got: object, expected: str) -> InputTypeError:
        return cls(f"{argument} must be {expected}, got {type(got).__name__}: {_short(got)}")


class UnknownNameError(NlpkitError):
    """A name nobody has registered; the message lists the known ones."""

    @classmethod
    def of(cls, what: str, got: object, known: Iterable[str], hint: str = "") -> UnknownNameError:
        names = ", ".join(sorted(known)) or "none"
        return cls(f"unknown {what} {got!r}; known: {names}{'. ' + hint if hint else ''}")


class DataError(NlpkitError):
    """A data file with a line that cannot be read."""

    @classmethod
    def at(cls, file: str | Path, line: int | str, problem: str, expected: str) -> DataError:
        place = f"line {line}" if isinstance(line, int) else line
        return cls(f"{file}, {place}: {problem}; expected {expected}")


class BundleError(NlpkitError):
    """A bundle or task pack that is missing, altered or does not fit."""


class StoreError(NlpkitError):
    """An index or its database that is missing, locked, damaged or does not fit."""


class MissingExtraError(NlpkitError, ImportError):
    """An optional dependency is absent."""

    @classmethod
    def of(cls, extra: str, purpose: str, module: str) -> MissingExtraError:
        return cls(
            f"{purpose} needs the module {module!r}, which is not installed; "
            f"run: pip install '{DISTRIBUTION}[{extra}]'"
        )


class OutputExistsError(NlpkitError, FileExistsError):
    """The output is already there and is kept."""

    @classmethod
    def of(cls, path: str | Path) -> OutputExistsError:
        return cls(
            f"{path} exists and is kept; choose another name, or pass overwrite (--overwrite)"
        )


class JobError(NlpkitError):
    """A job that did not come to its end, or a check that found something."""


class TrainingError(NlpkitError):
    """A training that cannot go on; the last good checkpoint is kept."""


class NlpkitWarning(UserWarning):
    """Base of nlpkit's warnings."""


class UnknownTextWarning(NlpkitWarning):
    """Much of a text is unknown to the model's vocabulary."""


def _short(value: object, limit: int = 60) -> str:
    shown = repr(value)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
