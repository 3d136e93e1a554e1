"""What the Hugging Face Hub shows about an exported file: ``README.md`` with its front matter, and ``config.json``."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from resnet_cli.errors import ConfigError
from resnet_cli.exporting.hub.exported_file import Exported
from resnet_cli.exporting.hub.usage import how_to_use
from resnet_cli.exporting.hub.wording import WORDING, thresholds_table
from resnet_cli.exporting.parity_result import EngineCheck
from resnet_cli.model.facts import MODEL_FILE
from resnet_cli.model.model_file import Model
from resnet_cli.reporting.card_format import TASK, UNKNOWN_LICENSE, Card, code, results, table
from resnet_cli.text import percent, percent_range, size
from resnet_cli.version import SCHEMA_VERSION

#: The model card beside the model in its run folder.
CARD_FILE = "model_card.md"
#: A card is a few pages of text.
MAX_CARD_BYTES = 1_000_000
#: Names of licenses on the Hub. Source: https://huggingface.co/docs/hub/repositories-licenses
LICENSES = frozenset(
    "afl-3.0 agpl-3.0 apache-2.0 bsd bsd-2-clause bsd-3-clause bsl-1.0 cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 "
    "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 "
    "cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 "
    "cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 mit "
    "mpl-2.0 ms-pl odbl odc-by openrail openrail++ osl-3.0 pddl unlicense wtfpl zlib".split()
)
_HOW_TO_USE = re.compile(r"^## How to use\n.*?(?=^## |\Z)", re.S | re.M)


def read_card(model: Model) -> Card | None:
    """The card in the run folder of a model, with what people have filled in; None if there is none.

    Raises:
        ConfigError: It cannot be read, or its front matter is not a YAML mapping.
    """
    if model.path is None or model.path.name != MODEL_FILE:
        return None
    path = model.path.parent / CARD_FILE
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise ConfigError(
                f"{path}: more than {MAX_CARD_BYTES:,} bytes, which is too large for a model card",
                hint="shorten it, or move it away",
            )
        return Card.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path}: not a model card: {reason}", hint="correct it, or move it away") from error


def hub_card(card: Card | None, exported: Exported) -> Card:
    """The card for ``README.md``: that of the run, extended by what holds for the exported file.

    Args:
        card: From :func:`read_card`.
        exported: The file.
    """
    body = card.body if card else _body(exported)
    thresholds = thresholds_table(exported.metadata)
    added = f"{_this_file(exported)}\n\n{thresholds}## How to use\n\n{how_to_use(exported)}\n\n"
    found = _HOW_TO_USE.search(body)
    body = body[: found.start()] + added + body[found.end() :] if found else f"{body.rstrip()}\n\n{added}"
    return Card(_front_matter(card, exported), body)


def hub_config(exported: Exported) -> bytes:
    """The content of ``config.json``: all that a program needs in order to use the file."""
    metadata = exported.metadata
    values = {
        "schema_version": SCHEMA_VERSION,
        "architecture": "resnet50",
        "format": exported.format,
        "files": exported.files,
        "input": metadata.input_kind,
        "number": metadata.precision,
        "outputs": metadata.outputs,
        "classes": metadata.classes,
        "preprocess": dict(metadata.preprocess),
        "temperature": metadata.temperature,
        "most_novel": metadata.most_novel,
        "licence": metadata.licence,
        "sha256": exported.sha256,
        "source_sha256": metadata.source_sha256,
        "resnet_cli_version": metadata.version,
    }
    if metadata.task == "multi-label":
        values |= {"task": metadata.task, "thresholds": metadata.thresholds}
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def _front_matter(card: Card | None, exported: Exported) -> dict[str, Any]:
    front = dict(card.front) if card else {}
    known = front.get("tags")
    tags = [str(tag) for tag in known] if isinstance(known, list) else []
    kind = "timm" if exported.format == "safetensors" else exported.format
    wording = WORDING[exported.metadata.task]
    front["tags"] = list(dict.fromkeys([*tags, TASK, *wording.tags, "resnet", "resnet-50", kind]))
    front["library_name"] = "timm" if kind == "timm" else "resnet-cli"
    front.setdefault("pipeline_tag", TASK)
    if exported.license is not None:
        front = {name: value for name, value in front.items() if not name.startswith("license")}
        front = _license(exported.license) | front
    elif "license" not in front:
        front = UNKNOWN_LICENSE | front
    # The metrics on the card are the model's, which also hold for its float32 exports.
    if exported.metadata.precision != "fp32" or "model-index" not in front:
        kind, title = wording.metric
        front |= results(exported.repo, exported.parity.data, {kind: (title, exported.parity.file_accuracy.value)})
    return front


def _license(text: str) -> dict[str, Any]:
    is_known = text.lower() in LICENSES
    return {"license": text.lower()} if is_known else {"license": "other", "license_name": text}


def _body(exported: Exported) -> str:
    return f"""\
# {exported.repo.partition("/")[2]}

A ResNet-50 that classifies images into {len(exported.metadata.classes):,} classes, which `config.json` lists. It \
predicts {WORDING[exported.metadata.task].predicts.format("them")}.
"""


def _this_file(exported: Exported) -> str:
    metadata, parity = exported.metadata, exported.parity
    wording = WORDING[metadata.task]
    rows = [
        ("Files", f"{', '.join(map(code, exported.files))}; {size(exported.num_bytes)}"),
        ("Format", f"{exported.format}, weights in {metadata.precision}"),
        ("SHA-256" if len(exported.files) == 1 else f"SHA-256 of {code(exported.files[-1])}", code(exported.sha256)),
        ("SHA-256 of the exported model", code(metadata.source_sha256 or "none: the model was not in a file")),
        ("Checked on", "; ".join(text for text in (code(parity.data), parity.how()) if text)),
        (wording.same, percent(parity.checks[0].agreement)),
        ("Largest difference of a probability", f"{parity.max_difference:.1e}"),
        (f"{wording.score} of the model (95 % interval)", _share(*parity.model_accuracy)),
        (f"{wording.score} of this file (95 % interval)", _share(*parity.file_accuracy)),
        ("License stated in the file", code(metadata.licence)),
        *((f"In {engine.name} {engine.version}", _in_engine(engine)) for engine in parity.engines),
    ]
    if metadata.precision == "int8":
        rows.insert(7, ("Mean change of probabilities", f"{100 * parity.mean_difference:.2f} points"))
    note = "" if metadata.precision == "fp32" else "\n\nOther metrics on this page are those of the model in float32."
    return f"## This file\n\n{table(('What', 'Value'), rows)}{note}"


def _in_engine(engine: EngineCheck) -> str:
    """What users of another engine need to know."""
    if engine.max_difference is None:
        return "no answer"
    found = f"largest difference {engine.max_difference:.1e}"
    return found if engine.passed else f"**other answers**: {found}; {engine.advice}"


def _share(value: float, low: float, high: float) -> str:
    return f"{percent(value)} ({percent_range(low, high)})"
