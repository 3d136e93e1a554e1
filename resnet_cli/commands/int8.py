"""Opens models that compute in int8, for every command: what is not quantized yet is quantized first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from resnet_cli.errors import SetupError
from resnet_cli.installation import install_command
from resnet_cli.int8_predictor import NotQuantized
from resnet_cli.system.events import OnWork
from resnet_cli.system.processor import this_processor

_Opened = TypeVar("_Opened")

#: What is said before a backbone is quantized.
QUANTIZING = "int8: the backbone is quantized now, once, and checked on the run's validation images"
#: What is added where it gains less. Measured with AVX2 for single images.
WITHOUT_VNNI = "this processor has no VNNI instructions, so int8 is about 1.6 times as fast as fp32, and not 3 times"


def open_quantized(
    open_model: Callable[[], _Opened],
    *,
    offline: bool = False,
    on_work: OnWork | None = None,
    on_note: Callable[[str], None] = lambda text: None,
) -> _Opened:
    """Opens a model in any precision.

    Args:
        open_model: Calls :func:`resnet_cli.predictor.open_predictor`; once more if the backbone had to be quantized.
        offline: Whether downloads are forbidden.
        on_work: Called with the progress on the images.
        on_note: Called with a sentence for the user.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``; no incomplete file is left.
    """
    try:
        return open_model()
    except NotQuantized as error:
        model = error.model
    try:
        from resnet_cli.exporting.int8_lane import keep_int8
    except ImportError as error:
        raise SetupError(f"--precision int8: a library cannot be imported: {error}", hint=install_command()) from error
    on_note(QUANTIZING if this_processor().multiplies_int8 else f"{QUANTIZING}; {WITHOUT_VNNI}")
    keep_int8(model, offline=offline, on_work=on_work)
    return open_model()
