"""The use case of ``serve``: opens a model and listens, then serves until a signal comes."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_cli.errors import ConfigError, Interrupted, missing_extra
from resnet_cli.images import MAX_PIXELS, Pixels
from resnet_cli.model.rules import abstention_rule, caveat_of, may_abstain
from resnet_cli.prediction import Predictor
from resnet_cli.system.caches import temporary_folder
from resnet_cli.system.paths import LATEST, user_path

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from resnet_cli.config.serve import ServeConfig
    from resnet_cli.serving.server import Address


@dataclasses.dataclass(frozen=True)
class StartedServer:
    """A server that listens, before it serves.

    Attributes:
        address: Where it listens.
        app: The HTTP app.
        model: Short name of the model, for people.
        predictor: The model.
        grace_s: Seconds that the last requests may take once a signal came.
        caveat: A sentence about classes for which the flags do not hold what was requested; None if there are none.
    """

    address: Address
    app: Starlette
    model: str
    predictor: Predictor[Pixels]
    grace_s: float
    caveat: str | None = None

    @property
    def url(self) -> str:
        """Address of the page."""
        return self.address.url

    def serve(self) -> None:
        """Serves until a signal comes.

        Raises:
            Interrupted: A signal came; every request that was in flight is finished.
        """
        from resnet_cli.serving.server import serve

        try:
            serve(self.app, self.address, grace_s=self.grace_s)
        except KeyboardInterrupt as interrupt:
            kept = "every request in flight was finished"
            raise Interrupted(kept, signal=getattr(interrupt, "signal", None)) from None


def start_server(model: str | None, config: ServeConfig) -> StartedServer:
    """Opens the model and starts to listen; clients can connect from then on, and wait.

    Args:
        model: What the user named; None for ``runs/latest``.
        config: Where to listen, limits, and how to predict.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``.
    """
    try:
        import python_multipart  # noqa: F401

        from resnet_cli.serving.access import Access
        from resnet_cli.serving.app import make_app
        from resnet_cli.serving.server import listen
    except ImportError as error:
        raise missing_extra(f"serve needs {error.name}, which is not installed", "serve") from error
    from resnet_cli.exported.opening import resolve_model
    from resnet_cli.serving.limits import Limits
    from resnet_cli.serving.messages import ModelInfo
    from resnet_cli.serving.service import Service

    # Before the model is opened: an address that is taken is reported at once.
    address = listen(config.host, config.port)
    with contextlib.ExitStack() as stack:
        stack.enter_context(address.listening)
        predictor = _open_model(resolve_model(model or LATEST), config)
        rule = abstention_rule(
            predictor,
            abstain=config.abstain,
            threshold=config.threshold,
            target_error=config.target_error,
            target_precision=config.target_precision,
            target_recall=config.target_recall,
        )
        limits = Limits(
            max_body_bytes=config.max_body,
            max_pixels=config.max_pixels or MAX_PIXELS,
            max_files=config.max_files,
            max_requests=config.max_requests,
            timeout_s=config.timeout,
        )
        service = Service(
            predictor, rule=rule, limits=limits, max_batch=config.batch_size, max_wait_s=config.batch_wait_ms / 1000
        )
        stack.pop_all()
    info = ModelInfo(
        name=_short_name(predictor.name),
        sha256=predictor.sha256,
        image_size=predictor.preprocess.crop_size,
        tells_unfamiliar=predictor.tells_unfamiliar,
        can_abstain=may_abstain(rule),
        can_explain=predictor.has_heatmap,
    )
    app = make_app(service, info, Access(config.token))
    return StartedServer(address, app, info.name, predictor, config.timeout, caveat_of(rule))


def _open_model(spec: str, config: ServeConfig) -> Predictor[Pixels]:
    if config.runtime == "torch" or config.precision == "int8" or config.engine == "openvino":
        return _open_in_precision(spec, config)
    from resnet_cli.exported.opening import check_trust, exported_kind
    from resnet_cli.exporting.serving_model import open_for_serving

    if exported_kind(user_path(spec)):
        config.refuse(("engine",), f"has no effect on {spec}: an exported file has a runtime of its own")
    check_trust([spec], trusted=config.trust)
    with temporary_folder() as scratch:
        found = open_for_serving(spec, scratch, offline=config.offline, trusted=config.trust)
    found.name = spec
    return found


def _open_in_precision(spec: str, config: ServeConfig) -> Predictor[Pixels]:
    from PIL import Image

    from resnet_cli.commands.int8 import open_quantized
    from resnet_cli.exported.opening import exported_kind
    from resnet_cli.predictor import open_predictor

    flag = "--precision int8" if config.precision == "int8" else "--engine openvino"
    if config.runtime == "torch":
        flag = "--runtime torch"
    if exported_kind(user_path(spec)):
        raise ConfigError(
            f"{flag} has no effect on {spec}: an exported file has a runtime and a precision of its own",
            hint=f"remove {flag}",
        )
    opening = functools.partial(
        open_predictor,
        spec,
        device=config.device,
        precision=config.precision,
        engine=config.engine if config.engine != "auto" or config.precision == "int8" else "torch",
        in_torch=config.runtime == "torch",
        offline=config.offline,
    )
    opened = open_quantized(opening, offline=config.offline)
    # The network is prepared with the first prediction: no request should wait for that.
    opened.predict([opened.prepare(Image.new("RGB", (32, 32)))])
    return opened


def _short_name(spec: str) -> str:
    """The model's name for clients: the last part of its path."""
    return Path(spec).expanduser().resolve().name if Path(spec).expanduser().exists() else spec
