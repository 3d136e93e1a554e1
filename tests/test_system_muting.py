"""What libraries print, warn of and log is hidden for a while, and nothing else."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import pytest

from resnet_cli.system.muting import quiet

_CODE = """
import ctypes, os, sys
from resnet_cli.system.muting import STDERR, muted
libc = ctypes.CDLL(None)
with muted():
    libc.printf(b"buffered by C\\n")
    os.write(1, b"written\\n")
    os.write(2, b"warned\\n")
print("result", flush=True)
with muted(STDERR):
    os.write(1, b"shown\\n")
    os.write(2, b"hidden\\n")
os.write(2, b"a warning\\n")
"""


def test_only_the_muted_streams_are_silent_and_only_within_the_block() -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("result\nshown\n", "a warning\n")


def test_warnings_and_log_messages_are_discarded_only_inside(caplog: pytest.LogCaptureFixture) -> None:
    with quiet():
        warnings.warn("inside", stacklevel=1)
        logging.getLogger("a.library").error("inside")
    with pytest.warns(UserWarning, match="outside"):
        warnings.warn("outside", stacklevel=1)
    logging.getLogger("a.library").error("outside")
    assert caplog.messages == ["outside"]
