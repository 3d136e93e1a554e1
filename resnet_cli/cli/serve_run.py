"""``resnet-cli serve`` from its model to a server that listens."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_cli.errors import Interrupted, missing_extra
from resnet_cli.model.reliability import Abstention
from resnet_cli.prediction import abstention_rule
from resnet_cli.system.paths import LATEST

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from resnet_cli.config.serve import ServeConfig
    from resnet_cli.images import Pixels
    from resnet_cli.prediction import Predictor
    from resnet_cli.serving.server import Address


@dataclasses.dataclass(frozen=True)
class Started:
    """A server that listens, before it answers.

    Attributes:
        address: Where.
        app: What answers.
        about: For people.
        warning: What they should know first, if anything.
        grace_s: How long the last answers may take.
    """

    address: Address
    app: Starlette
    about: str
    warning: str | None
    grace_s: float

    @property
    def url(self) -> str:
        """The page's address."""
        return self.address.url

    def serve(self) -> None:
        """Answers until a signal comes.

        Raises:
            Interrupted: It came; what was taken is answered.
        """
        from resnet_cli.serving.server import serve

        try:
            serve(self.app, self.address, grace_s=self.grace_s)
        except KeyboardInterrupt as interrupt:
            raise Interrupted("what was taken is answered", signal=getattr(interrupt, "signal", None)) from None


def run(model: str | None, config: ServeConfig) -> Started:
    """Opens the model and takes the address.

    Raises:
        ResnetCliError: As the core does.
    """
    try:
        import python_multipart  # noqa: F401

        from resnet_cli.serving.app import Access, make_app
        from resnet_cli.serving.server import listen
    except ImportError as error:
        raise missing_extra(f"serve needs {error.name}, which is not installed", "serve") from error
    from resnet_cli.images import MAX_PIXELS
    from resnet_cli.serving.limits import Limits
    from resnet_cli.serving.messages import ModelInfo
    from resnet_cli.serving.service import Service

    # Before the model is opened: an address that is taken is told at once.
    address = listen(config.host, config.port)
    with contextlib.ExitStack() as stack:
        stack.enter_context(address.listening)
        predictor = _open(model, config)
        rule = _rule(predictor, config)
        service = Service(
            predictor,
            rule=rule,
            limits=Limits(
                max_body_bytes=config.max_body,
                max_pixels=config.max_pixels or MAX_PIXELS,
                max_files=config.max_files,
                max_requests=config.max_requests,
                timeout_s=config.timeout,
            ),
            max_batch=config.batch_size,
            max_wait_s=config.batch_wait_ms / 1000,
        )
        stack.pop_all()
    info = ModelInfo(
        name=_short(predictor.name),
        sha256=predictor.sha256,
        image_size=predictor.preprocess.crop_size,
        can_abstain=rule is not None,
        can_explain=predictor.has_heatmap,
    )
    num = len(predictor.classes)
    precision = "" if predictor.precision == "fp32" else f", computed in {predictor.precision}"
    about = f"{info.name}, {num:,} classes{precision}; a page to try it is at {address.url}; Ctrl-C ends it"
    app = make_app(service, info, Access(config.token))
    return Started(address, app, about, predictor.precision_conflict, config.timeout)


def _open(model: str | None, config: ServeConfig) -> Predictor[Pixels]:
    from resnet_cli.exported.opening import check_trust
    from resnet_cli.predictor import open_predictor

    spec = model or str(LATEST)
    if config.runtime == "torch":
        return open_predictor(spec, device=config.device, precision=config.precision, offline=config.offline)
    from resnet_cli.exporting.serving_model import open_for_serving

    check_trust([spec], trusted=config.trust)
    with tempfile.TemporaryDirectory(prefix="resnet-cli-") as scratch:
        found = open_for_serving(spec, Path(scratch), offline=config.offline, trusted=config.trust)
    found.name = spec
    return found


def _rule(predictor: Predictor[Pixels], config: ServeConfig) -> Abstention | None:
    # Without a word from the user a model abstains if it can.
    can_abstain = predictor.reliability is not None and predictor.has_novelty
    return abstention_rule(
        predictor.reliability,
        has_novelty=predictor.has_novelty,
        abstain=config.abstain and can_abstain,
        threshold=config.threshold or 0.0,
        target_error=config.target_error,
    )


def _short(spec: str) -> str:
    """The model's name for clients: the last part of its path, with links resolved."""
    return Path(spec).expanduser().resolve().name if Path(spec).expanduser().exists() else spec
