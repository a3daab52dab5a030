"""The folder in which a server keeps its talks: where it is by default, and that only one process uses it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path

from ..errors import BusyError, NextGPTError

NAME = "nextgpt-chat"
_LOCK = "in-use"
_PASSING = "nextgpt-temporary"  # unlike anything a user may have in a folder that he names


def default_data_folder(
    environment: Mapping[str, str] | None = None, platform: str = sys.platform, home: Path | None = None
) -> Path:
    """The user's own folder for the program's data, by the custom of the platform. It is not made."""
    environment = os.environ if environment is None else environment
    home = home or Path.home()
    if platform == "win32":
        return Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local", NAME)
    if platform == "darwin":
        return home / "Library" / "Application Support" / NAME
    base = environment.get("XDG_DATA_HOME", "")
    return Path(base if os.path.isabs(base) else home / ".local" / "share", NAME)  # relative ones count as unset


class DataFolder:
    """A folder taken for this process until :meth:`close`, or its end, however sudden; made with mode 0700.

    ``root`` holds the talks, ``uploads`` and ``shown`` files that are of no use after the process: they are emptied
    now. Raises BusyError where another process has it, NextGPTError where it cannot be used.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        passing = self.root / _PASSING
        self.uploads, self.shown = passing / "uploads", passing / "shown"
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A transaction that stays open is a lock that every platform frees when a process dies.
            self._lock = sqlite3.connect(self.root / _LOCK, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                self._lock.execute("BEGIN EXCLUSIVE")
            except BaseException:
                self._lock.close()
                raise
            shutil.rmtree(passing, ignore_errors=True)
            for folder in (passing, self.uploads, self.shown):
                folder.mkdir(mode=0o700, exist_ok=True)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise BusyError(
                    f"The talks in {self.root} are in use by another process of this program. End that one first, or "
                    "give this one a folder of its own with --data-dir."
                ) from error
            raise self._unusable(error) from error
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> NextGPTError:
        return NextGPTError(
            f"The data folder {self.root} cannot be used: {error}. Choose another one with --data-dir, or change its "
            "permissions."
        )

    def close(self) -> None:
        """Lets others have it."""
        self._lock.close()
