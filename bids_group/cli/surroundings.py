"""A home for what libraries keep between runs, where the user's own cannot be used.

numba refuses to compile and pybids to start where the home folder is missing, unreadable or read-only, as it
may be in containers, for strange users and on nodes of clusters. They must be told before they are imported.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path


def settle_home(environment: MutableMapping[str, str] | None = None) -> None:
    """Point ``HOME`` and the caches of numba and matplotlib to a private folder, if home cannot be used.

    Variables that the user set (``NUMBA_CACHE_DIR``, ``MPLCONFIGDIR``) stay as they are.
    """
    environment = os.environ if environment is None else environment
    if _is_usable(environment.get("HOME", "")):
        return
    home = _private_folder()
    environment["HOME"] = str(home)
    environment.setdefault("NUMBA_CACHE_DIR", str(home / "numba"))
    environment.setdefault("MPLCONFIGDIR", str(home / "matplotlib"))


def _is_usable(folder: str) -> bool:
    return bool(folder) and Path(folder).is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _private_folder() -> Path:
    """Make or find a folder of this user's own; a folder of somebody else under its name is not used."""
    folder = Path(tempfile.gettempdir()) / f"bids-group-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if found.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink() or found.st_mode & 0o022:
            return Path(tempfile.mkdtemp(prefix="bids-group-"))
    return folder
