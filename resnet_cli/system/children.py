"""Processes that this one starts and waits for: none of them outlives it, even if it is killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

#: Asks the system to kill this process when its parent dies, and becomes the command. 1 is PR_SET_PDEATHSIG. The parent
#: may have died before that. Source: https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
_TIE = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def tied(command: Sequence[str]) -> list[str]:
    """A command that is killed when the thread that starts it ends, as it does if the whole process is killed.

    Only Linux can do that; elsewhere, the command is returned as it is, and such a process ends with its work.

    Args:
        command: A program, as a path, and its arguments.
    """
    if sys.platform != "linux":
        return list(command)
    # -I and -S: nothing but the standard library is looked for, so that this takes a hundredth of a second.
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), *command]
