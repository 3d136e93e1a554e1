"""What libraries say while they convert a model is discarded, and only then."""

from __future__ import annotations

import logging
import warnings

import pytest

from resnet_cli.system.quiet import quiet


def test_warnings_and_log_messages_are_discarded_only_inside(caplog: pytest.LogCaptureFixture) -> None:
    with quiet():
        warnings.warn("inside", stacklevel=1)
        logging.getLogger("a.library").error("inside")
    with pytest.warns(UserWarning, match="outside"):
        warnings.warn("outside", stacklevel=1)
    logging.getLogger("a.library").error("outside")
    assert caplog.messages == ["outside"]
