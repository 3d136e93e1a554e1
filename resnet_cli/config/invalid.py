"""Values that a config refuses, in our words instead of pydantic's."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_cli.config.nearest import nearest
from resnet_cli.errors import ConfigError

if TYPE_CHECKING:
    import pydantic
    from pydantic_core import ErrorDetails

#: Type of pydantic's error -> what is wrong; the braces are filled from its context.
#: Source: https://docs.pydantic.dev/latest/errors/validation_errors/
_REASONS = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "is too short: at least {min_length} characters",
    "string_too_long": "is too long: at most {max_length} characters",
    "string_pattern_mismatch": "must be ASCII letters, digits and punctuation, without spaces",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "path_type": "must be a path",
    "value_error": "{error}",
}


def invalid_value(error: pydantic.ValidationError, names: Mapping[str, str], file: Path | None) -> ConfigError:
    """The error for the first value that a config refuses.

    Args:
        error: What pydantic says.
        names: Field -> how the user named it: a flag, or a key of the file.
        file: The file with keys, if any.
    """
    details = error.errors()
    first = details[0]
    field = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return unknown_name(field, names, f"there is no option '{field}'")
    # An annotation with several types has an error for each of them.
    same = [one for one in details if one["loc"][0] == field]
    reasons = [_reason(one) for one in same if one["type"] != "literal_error"]
    choices = [choice for one in same for choice in _choices(one)]
    if choices:
        listed = ", ".join(choices)
        reasons.append(f"or {listed}" if reasons else f"must be {'one of ' * (len(choices) > 1)}{listed}")
    value, name = str(first["input"]), names[field]
    where = f"{file}: {name}" if file else name
    return ConfigError(
        f"{where} {value}: {', '.join(reasons)}", hint=_hint(first, value, choices, name=name, file=file)
    )


def unknown_name(name: str, known: Collection[str], message: str) -> ConfigError:
    """The error for a name that does not exist, with the one that was probably meant."""
    close = nearest(name, known)
    otherwise = "the names are those of the flags, without --: resnet-cli COMMAND --help-all"
    return ConfigError(message, hint=f"did you mean '{close}'?" if close else otherwise)


def _reason(error: ErrorDetails) -> str:
    known = _REASONS.get(error["type"])
    return known.format(**error.get("ctx", {})) if known else error["msg"].lower()


def _choices(error: ErrorDetails) -> list[str]:
    return re.findall("'([^']*)'", error["ctx"]["expected"]) if error["type"] == "literal_error" else []


def _hint(error: ErrorDetails, value: str, choices: Collection[str], *, name: str, file: Path | None) -> str | None:
    # 95 of 100, where a share from 0 to 1 is asked for.
    is_share = error["type"] in {"less_than", "less_than_equal"} and set(error["ctx"].values()) <= {0.5, 1}
    if is_share and re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) and 1 < float(value) <= 100:
        close: str | None = f"{value}%"
    else:
        close = nearest(value, choices)
    if not close:
        return None
    return f"did you mean {name}: {close}?" if file else f"did you mean {name} {close}?"
