"""The model card of a run: what the model is for, how well it works, and what it cannot do."""

from __future__ import annotations

import re
from typing import Any

from resnet_cli.installation import install_command
from resnet_cli.reporting.card_format import TASK, UNKNOWN_LICENSE, Card, plain, results, table
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_kind import CardParts
from resnet_cli.reporting.report_kinds import kind_of
from resnet_cli.text import split_word
from resnet_cli.version import __version__

#: What the table of licenses lists.
_LICENSED = ("this model", "the images that it was trained on", "the weights that training started from")
#: Paths on this machine, which a card that may be published omits.
_PATH = re.compile(r"[/~\\]|[A-Za-z]:[/\\]")


def model_card(content: ReportContent) -> str:
    """The card as text; what only its author knows is marked to be filled in.

    Args:
        content: The content of the report page.
    """
    parts = kind_of(content.evaluation).card(content, content.evaluation)
    facts = [fact for fact in content.facts if not any(_PATH.match(text) for text in fact)]
    body = f"""\
# {plain(_name(content))}

{parts.about}

## Intended use

- {parts.use}
- Not for other images: {parts.other_images}
- Not for decisions about people, nor where a wrong prediction does harm, unless a person checks it.
- **Fill in:** who uses it, for what, and what a wrong prediction costs.

## Data and training

{table(("What", "Value", "Why"), [[plain(text) for text in fact] for fact in facts])}

**Fill in:** where the images come from, who labeled them and how, and what or whom they do not cover.

## Evaluation

{parts.evaluation}

## Limitations

{_limitations(content, parts)}

## How to use

```console
$ {install_command(elsewhere=True)}
$ resnet-cli predict photo.jpg --model model.safetensors
```

```python
import resnet_cli

model = resnet_cli.load("model.safetensors")
print(model.predict(["photo.jpg"]))
```

{parts.contents}

## Licenses

{table(("What", "License"), [(what, "**fill in**") for what in _LICENSED])}

State the model's license in `license:` at the top of this file too.

Written by resnet-cli {__version__}."""
    return str(Card(_front_matter(content, parts), body))


def _name(content: ReportContent) -> str:
    return content.data or content.title


def _front_matter(content: ReportContent, parts: CardParts) -> dict[str, Any]:
    name = _name(content)
    return {
        **UNKNOWN_LICENSE,
        "library_name": "resnet-cli",
        "pipeline_tag": TASK,
        "tags": [TASK, *parts.tags, "resnet-50", "transfer-learning"],
        **results(name, name, parts.results, split=split_word(content.split)),
    }


def _limitations(content: ReportContent, parts: CardParts) -> str:
    # A warning may be a finding with its fix.
    found = (
        one.message for one in content.findings if not any(told.startswith(one.message) for told in content.warnings)
    )
    told = [*content.warnings, *found, *parts.notes]
    return "\n".join(f"- {limit}" for limit in [*(plain(text, 700) for text in told), *parts.limits])
