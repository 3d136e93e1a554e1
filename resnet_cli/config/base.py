"""The parts of every config: flags, rules between fields, and the merge of defaults, a YAML file and flags.

``None`` as a value means "chosen later from the data" (see ``training/plan.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import pydantic

from resnet_cli.errors import ConfigError

#: Panels of ``--help`` that several commands share.
DATA, MACHINE = "Data", "Machine"
#: Removed fields: the values (as YAML has them) that turned the feature off, and what is done instead of it.
#: The ``config.yaml`` of an older run names them, since a run writes down every field: these values are still accepted.
RETIRED: dict[str, tuple[tuple[str | None, ...], str]] = {
    "cached_views": ((None, "0", "auto"), "frozen stages are computed in every epoch"),
}


@dataclasses.dataclass(frozen=True)
class Flag:
    """How a config field is offered on the command line; its type says which values it takes.

    A boolean field that is True by default becomes ``--no-NAME``.

    Attributes:
        help: A short sentence, which ``-h`` shows, and others that only ``--help-all`` shows.
        panel: The group of ``--help`` that shows it; None: the first group.
        default: What ``--help`` shows as the default where the field's own default is None.
        name: The flag, where it is not the field's name with dashes.
        short: A one-letter flag, such as ``-f``.
        metavar: What stands for the value in ``--help``, where the type does not say it.
        two_way: Whether a boolean flag also exists as ``--no-NAME``.
        envvar: An environment variable that gives the value where the flag is absent.
        completes: What the shell offers as values, besides the choices that the type has.
    """

    help: str
    panel: str | None = None
    default: str | None = None
    name: str | None = None
    short: str | None = None
    metavar: str | None = None
    two_way: bool = False
    envvar: str | None = None
    completes: Literal["data", "model", "device"] | None = None


@dataclasses.dataclass(frozen=True)
class Rule:
    """What some fields need in order to have an effect; a flag without effect is an error, never ignored.

    Attributes:
        fields: The fields that the rule is about.
        holds: Takes the config and says whether these fields may be set.
        why: What to say otherwise, after the flag and its value: ``has no effect without --fix``.
        hint: What to type instead.
        strict: Whether it also counts when the user asked for the default value.
    """

    fields: tuple[str, ...]
    holds: Callable[[Any], bool]
    why: str
    hint: str | None = None
    strict: bool = False


class Config(pydantic.BaseModel):
    """The parent of every command's config.

    Attributes:
        rules: Checked in order after the fields themselves.
    """

    # The validators are built when a value is parsed first: --help needs none of them (20 ms).
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, defer_build=True)
    rules: ClassVar[tuple[Rule, ...]] = ()

    @pydantic.model_validator(mode="after")
    def _check_rules(self) -> Self:
        for rule in self.rules:
            if not rule.holds(self):
                self.refuse(rule.fields, rule.why, rule.hint, strict=rule.strict)
        return self

    def refuse(self, fields: Sequence[str], why: str, hint: str | None = "remove it", *, strict: bool = True) -> None:
        """Refuses fields that have no effect for a reason that the config alone does not know.

        Args:
            fields: Names of fields that must not be set.
            why: The end of the message, after the flag and its value.
            hint: What to type instead.
            strict: Whether a field also counts as set when the user asked for its default.

        Raises:
            ConfigError: One of them is set.
        """
        for field in fields:
            if self._is_set(field, strict=strict):
                raise ConfigError(f"{self._as_typed(field)} {why}", hint=hint)

    def _is_set(self, field: str, *, strict: bool) -> bool:
        return field in self.model_fields_set and (
            strict or getattr(self, field) != type(self).model_fields[field].default
        )

    def _as_typed(self, field: str) -> str:
        value = getattr(self, field)
        flag = flag_name(type(self), field)
        if isinstance(value, bool):
            declared = flag_of(type(self), field)
            return f"--no-{flag[2:]}" if declared and declared.two_way and not value else flag
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        return f"{flag} {shown:g}" if isinstance(shown, float) else f"{flag} {shown}"


ConfigT = TypeVar("ConfigT", bound=Config)


def typed_flags(config: Config, names: Iterable[str]) -> list[str]:
    """The words of a command line that give some fields the values that they have in a config.

    Args:
        config: The config.
        names: The fields; those that declare no flag or have their default value are left out.
    """
    words: list[str] = []
    for name in names:
        value, field = getattr(config, name), type(config).model_fields[name]
        if flag_of(type(config), name) is None or value == field.default:
            continue
        words.append(config._as_typed(name) if isinstance(value, bool) else flag_name(type(config), name))
        if not isinstance(value, bool):
            words.append(",".join(map(str, value)) if isinstance(value, tuple) else str(value))
    return words


def flag_of(model: type[Config], field: str) -> Flag | None:
    """The declaration of a field's flag; None where the field has none."""
    return next((one for one in model.model_fields[field].metadata if isinstance(one, Flag)), None)


def flag_name(model: type[Config], field: str) -> str:
    """The flag as it is typed: ``--val-fraction``, or ``--no-novelty`` for what is on by default."""
    flag = flag_of(model, field)
    if flag and flag.name:
        return flag.name
    is_negated = model.model_fields[field].default is True and not (flag and flag.two_way)
    return ("--no-" if is_negated else "--") + field.replace("_", "-")


def _typed_name(model: type[Config], field: str) -> str:
    return "DATA" if field == "data" else flag_name(model, field)


@dataclasses.dataclass(frozen=True)
class Resolved(Generic[ConfigT]):
    """A config and who set each of its values.

    Attributes:
        config: The values.
        origins: Field name -> ``flag``, the YAML file's name, or ``default``.
    """

    config: ConfigT
    origins: dict[str, str]


def resolve(
    model: type[ConfigT], flags: Mapping[str, Any], file: Path | None = None, *, is_record: bool = False
) -> Resolved[ConfigT]:
    """Merges defaults, a YAML file and flags, in that order.

    Args:
        model: The command's config.
        flags: Field name -> value; None if the user gave no value.
        file: A YAML file whose keys are field names (dashes or underscores).
        is_record: The file only tells how a model was trained, nothing is trained from it: retired fields may have any
            value.

    Raises:
        ConfigError: An unknown or retired key, or an invalid value; the message names the flag or the file.
    """
    values = _read_values(model, file, is_record=is_record) if file else {}
    origins = dict.fromkeys(model.model_fields, "default") | dict.fromkeys(values, str(file))
    given = {key: value for key, value in flags.items() if value is not None}
    origins |= dict.fromkeys(given, "flag")
    try:
        config = model.model_validate(values | given)
    except pydantic.ValidationError as error:
        from resnet_cli.config.invalid import invalid_value

        field = str(error.errors()[0]["loc"][0])
        is_in_file = file is not None and origins.get(field) == str(file)
        names = {name: name if is_in_file else _typed_name(model, name) for name in model.model_fields}
        raise invalid_value(error, names, file if is_in_file else None) from None
    return Resolved(config, origins)


def to_yaml(config: Config) -> str:
    """The config as YAML that ``--config`` reads back to the same values."""
    import yaml

    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_values(model: type[Config], file: Path, *, is_record: bool) -> dict[str, Any]:
    from resnet_cli.config.yaml_file import read_yaml

    written = read_yaml(file)
    values = {key.replace("-", "_"): value for key, value in written.items()}
    if len(values) < len(written):
        raise ConfigError(f"{file}: a key occurs twice, once with dashes and once with underscores")
    for name in RETIRED.keys() & values.keys():
        allowed, reason = RETIRED[name]
        if values.pop(name) not in allowed and not is_record:
            # Without the feature the rest of a run would be another training.
            is_run = (file.parent / "split.csv").is_file()
            hint = "start a new run: resnet-cli finetune DATA" if is_run else f"remove {name} from the file"
            raise ConfigError(f"{file}: {name} was removed: {reason}", hint=hint)
    unknown = sorted(set(values) - set(model.model_fields))
    if unknown:
        from resnet_cli.config.invalid import unknown_name

        raise unknown_name(unknown[0], model.model_fields, f"{file}: unknown key '{unknown[0]}'")
    return values
