"""``resnet-cli serve`` from its model to a server that listens."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from resnet_cli.errors import Interrupted, missing_extra
from resnet_cli.model.reliability import Abstention, Reliability, precision_conflict
from resnet_cli.prediction import answer_rule
from resnet_cli.system.paths import LATEST

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from resnet_cli.config.serve import ServeConfig
    from resnet_cli.images import Pixels
    from resnet_cli.prediction import Answerer
    from resnet_cli.serving.server import Address
    from resnet_cli.serving.service import FindHeat


class Opened(NamedTuple):
    """A model that sees squares.

    Attributes:
        answerer: Of ONNX Runtime or torch.
        name: For people.
        sha256: Of the model file.
        image_size: Pixels of the square.
        reliability: What it knows about its own limits.
        has_novelty: Whether it tells how unlike the training images an image is.
        can_explain: Whether heat can be had.
        precision: In which it answers.
        precision_conflict: What to say where the model got to know its limits in another one.
        find_heat: Where answers bring none along.
    """

    answerer: Answerer[Pixels]
    name: str
    sha256: str
    image_size: int
    reliability: Reliability | None
    has_novelty: bool
    can_explain: bool
    precision: str
    precision_conflict: str | None
    find_heat: FindHeat | None = None


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
        opened = (_open_torch if config.runtime == "torch" else _open_onnx)(model, config)
        rule = _rule(opened, config)
        service = Service(
            opened.answerer,
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
            find_heat=opened.find_heat,
        )
        stack.pop_all()
    info = ModelInfo(
        name=opened.name,
        sha256=opened.sha256,
        image_size=opened.image_size,
        can_abstain=rule is not None,
        can_explain=opened.can_explain,
    )
    num = len(opened.answerer.classes)
    precision = "" if opened.precision == "fp32" else f", computed in {opened.precision}"
    about = f"{opened.name}, {num:,} classes{precision}; a page to try it is at {address.url}; Ctrl-C ends it"
    app = make_app(service, info, Access(config.token))
    return Started(address, app, about, opened.precision_conflict, config.timeout)


def _rule(opened: Opened, config: ServeConfig) -> Abstention | None:
    # Without a word from the user a model abstains if it can.
    can_abstain = opened.reliability is not None and opened.has_novelty
    return answer_rule(
        opened.reliability,
        has_novelty=opened.has_novelty,
        abstain=config.abstain and can_abstain,
        threshold=config.threshold or 0.0,
        target_error=config.target_error,
    )


def _open_onnx(model: str | None, config: ServeConfig) -> Opened:
    from resnet_cli.exported.opening import check_trust
    from resnet_cli.exporting.serving_model import open_for_serving

    spec = model or str(LATEST)
    check_trust([spec], trusted=config.trust)
    with tempfile.TemporaryDirectory(prefix="resnet-cli-") as scratch:
        found = open_for_serving(spec, Path(scratch), offline=config.offline, trusted=config.trust)
    return Opened(
        answerer=found,
        name=_short(spec),
        sha256=found.source_hash,
        image_size=int(found.preprocess["crop_size"]),
        reliability=found.reliability,
        has_novelty=found.has_novelty,
        can_explain=found.has_heat,
        precision=found.about.number,
        precision_conflict=found.precision_conflict,
    )


def _open_torch(model: str | None, config: ServeConfig) -> Opened:

    from resnet_cli.data.loading import stack
    from resnet_cli.exporting.export import sha256_of
    from resnet_cli.model.explain import GradCam
    from resnet_cli.model.weights import load_model
    from resnet_cli.predictor import ModelAnswerer
    from resnet_cli.system.device import choose_compute

    spec = model or str(LATEST)
    compute = choose_compute(config.device, config.precision)
    loaded = load_model(spec, offline=config.offline)
    cam = GradCam(loaded.network, loaded.preprocess, compute)
    return Opened(
        answerer=ModelAnswerer(loaded, compute),
        name=_short(spec),
        sha256="" if loaded.path is None else sha256_of(loaded.path),
        image_size=loaded.preprocess.crop_size,
        reliability=loaded.reliability,
        has_novelty=loaded.reference is not None,
        can_explain=True,
        precision=compute.precision,
        precision_conflict=precision_conflict(loaded.provenance, compute.precision),
        find_heat=lambda pixels: cam.heat(stack([pixels]))[0],
    )


def _short(spec: str) -> str:
    """The model's name for strangers: the last part of its path, behind any link."""
    return Path(spec).expanduser().resolve().name if Path(spec).expanduser().exists() else spec
