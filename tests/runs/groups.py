"""Process groups that a test has started."""

from __future__ import annotations

import os
import signal
import time


def group_lives(group: int) -> bool:
    """Are there processes of a group after its leader has ended? They get a moment to go, then they are killed."""
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return False
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return True
