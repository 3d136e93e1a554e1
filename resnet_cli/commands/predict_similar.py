"""The use case of ``predict --similar``: the images that are most similar to a query image."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, BinaryIO

from resnet_cli.commands.predict import find_inputs
from resnet_cli.commands.predict_model import OnEvent, Started, check_model_flags, name_model, open_model
from resnet_cli.config.predict import TOPK_SIMILAR, PredictConfig
from resnet_cli.data.inputs.opening import InputOptions, find_images
from resnet_cli.errors import ConfigError
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.events import WorkDone
from resnet_cli.system.paths import check_writable, refuse_existing, write_text

if TYPE_CHECKING:
    from resnet_cli.engines.similar import Similar


def find_similar_images(config: PredictConfig, *, stdin: BinaryIO, on_event: OnEvent = lambda _: None) -> Similar:
    """Finds the images that are most similar to the query images.

    Args:
        config: What to do; ``similar`` names the queries, ``among`` where to search.
        stdin: Read once for the image ``-``.
        on_event: Called with each event.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``.
    """
    config = name_model(config)
    check_model_flags(config)
    if config.output is not None:
        refuse_existing(config.output)
        check_writable(config.output)
    if "-" in config.similar and "-" in config.among:
        raise ConfigError("--similar - and --among -: stdin can be only one of them")
    queries = list(find_images(config.similar, stdin=stdin, options=InputOptions(offline=config.offline)).items)
    among = find_inputs(config.among, config, stdin, on_event)
    predictor = open_model(config, on_event, in_torch=True)
    from resnet_cli.engines.similar import find_similar

    assert isinstance(predictor, TorchPredictor)
    on_event(Started(None))
    began = time.perf_counter()
    found = find_similar(
        predictor.model,
        queries,
        among.items,
        predictor.compute,
        topk=config.topk or TOPK_SIMILAR,
        on_progress=lambda num: on_event(WorkDone("predict", num, None)),
    )
    if config.output is None:
        return found
    from resnet_cli.reporting.provenance import Provenance
    from resnet_cli.reporting.similar_sheet import similar_sheet

    provenance = Provenance.now(
        model=str(predictor.path or predictor.name),
        data=", ".join(config.among),
        seconds=time.perf_counter() - began,
        device=str(predictor.compute.device),
    )
    sheet = similar_sheet(found, provenance, among=config.among, bit_depth=predictor.preprocess.bit_depth)
    write_text(config.output, sheet)
    return dataclasses.replace(found, written=config.output)
