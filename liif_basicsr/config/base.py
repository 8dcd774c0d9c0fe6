"""Strict pydantic models for blocks of options, and one-line messages about their errors.

The model of a block is a subclass of `Block`, or of `OpenBlock` if the block may also contain options of BasicSR.
Networks, encoders and losses need no handwritten model: `arguments_model` derives one from a constructor's signature
and docstring.
"""
from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import PureWindowsPath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Le, Lt
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema

from liif_basicsr.config.scales import LARGEST_SCALE, expected_scale, scale_pair
from liif_basicsr.errors import LIIFError, suggest

# Widths, depths and counts above this limit would exhaust the memory.
LARGEST_ARGUMENT = 10_000
LARGEST_INTEGER = 10**9
NUMBER_TEXT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


# --- types of fields


@dataclass(frozen=True, eq=False)
class Checked:
    """Annotation that validates a field by a function instead of by its type.

    Args:
        check: function that returns the value to use, or raises ValueError.
        expected: description of the accepted values, for error messages and docs/options.md.
        schema: JSON schema of the accepted values.
    """

    check: Callable[[Any], Any]
    expected: str
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        def check(value: Any) -> Any:
            try:
                return self.check(value)
            except ValueError:
                raise PydanticCustomError("expected", "expected another value") from None

        return core_schema.no_info_plain_validator_function(check)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**self.schema, "expected": self.expected}


def number_range(lowest: float, highest: float, *, strict: bool = False, around: float | None = None) -> Checked:
    """Return an annotation that accepts a pair [low, high] of numbers from `lowest` to `highest`.

    Args:
        strict: whether low must be below high. Otherwise they may be equal.
        around: a number that must be in the range [low, high].
    """
    item = {"type": "number", "minimum": lowest, "maximum": highest}
    numbers = "different numbers" if strict else "numbers"
    order = "in ascending order"
    if around is not None:
        order = f"with lowest at most {around:g} and highest at least {around:g}"
    expected = f"a pair [lowest, highest] of {numbers} from {lowest:g} to {highest:g}, {order}"

    def check(value: Any) -> list[float]:
        low, high = _numbers(value, 2)
        inside = around is None or low <= around <= high
        if not (lowest <= low <= high <= highest and inside) or (strict and low == high):
            raise ValueError
        return [low, high]

    return Checked(check, expected, {"type": "array", "items": item, "minItems": 2, "maxItems": 2})


def probabilities(count: int | None = None) -> Checked:
    """Return an annotation that accepts relative frequencies: a list of numbers of at least 0 with a positive sum.

    Args:
        count: required length of the list; None allows any length.
    """

    def check(value: Any) -> list[float]:
        numbers = _numbers(value, count)
        if not all(0 <= number <= 1e6 for number in numbers) or not sum(numbers):
            raise ValueError
        return numbers

    many = f"a list of {count} probabilities" if count else "a list of probabilities"
    schema = {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": count or 1}
    return Checked(check, f"{many}, at least one above 0", schema | ({"maxItems": count} if count else {}))


def _numbers(value: Any, count: int | None) -> list[float]:
    if not isinstance(value, (list, tuple)) or (count is not None and len(value) != count):
        raise ValueError
    if any(isinstance(item, bool) or not isinstance(item, (int, float)) for item in value):
        raise ValueError
    return list(value)


def _scales(value: Any) -> list[tuple[float, float]]:
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError
    pairs = [scale_pair(item, 1) for item in value]
    if len(set(pairs)) < len(pairs):
        raise ValueError
    return pairs


def _folder_name(value: Any) -> str:
    # Windows' rules also exclude the separators of other systems.
    if not isinstance(value, str) or value in ("", "..") or PureWindowsPath(value).name != value:
        raise ValueError
    return value


_FACTOR_SCHEMA = {"type": "number", "minimum": 1, "exclusiveMaximum": LARGEST_SCALE}
_SCALE_SCHEMA = {
    "anyOf": [_FACTOR_SCHEMA, {"type": "array", "items": _FACTOR_SCHEMA, "minItems": 2, "maxItems": 2}]
}  # fmt: skip

Text = Annotated[str, Field(min_length=1)]
FolderName = Annotated[
    str, Checked(_folder_name, "the name of a folder, without / and \\", {"type": "string", "minLength": 1})
]
PositiveInt = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
# Numbers of iterations may be floats, as in BasicSR (`!!float 1e4`), but not fractions: no iteration would equal them.
Iterations = Annotated[float, Field(ge=1, multiple_of=1)]
Milestone = Annotated[float, Field(ge=0, multiple_of=1)]
Scale = Annotated[tuple[float, float], Checked(partial(scale_pair, minimum=1), expected_scale(1), _SCALE_SCHEMA)]
Scales = Annotated[
    list[tuple[float, float]],
    Checked(
        _scales,
        "a list of different scales, each a number of at least 1 or a pair [along y, along x]",
        {"type": "array", "items": _SCALE_SCHEMA, "minItems": 1},
    ),
]
ScaleRange = Annotated[list[float], number_range(1, LARGEST_SCALE)]


# --- models


class Block(BaseModel):
    """A block of options.

    Unknown options are errors. Types are strict: text and booleans are not accepted as numbers.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


class PartialBlock(Block):
    """The part of a block that the plugin reads. Other options are accepted."""

    model_config = ConfigDict(extra="allow")


class OpenBlock(PartialBlock):
    """A block that may contain further options of BasicSR or another project.

    It is an error if the name of such an option resembles a known one, or if its value is a number written as text.
    """

    @model_validator(mode="before")
    @classmethod
    def _refuse_near_misses(cls, block: Any) -> Any:
        if isinstance(block, Mapping):
            refuse_near_misses(block, cls.model_fields)
        return block

    @model_validator(mode="after")
    def _refuse_text_numbers(self) -> Any:
        refuse_text_numbers(self.model_extra)
        return self


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], block: Any, where: str = "") -> Model:
    """Validate a block of options and fill in its defaults.

    Args:
        model: pydantic model of the block.
        block: the block as read from YAML.
        where: name of the block in messages, such as `datasets: train`.

    Raises:
        LIIFError: an option is unknown, missing or invalid.
    """
    try:
        return model.model_validate(block)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # A misspelled required option is reported twice, as unknown and as missing: show the unknown one.
        problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
        raise LIIFError(_explain(model, block, problems[0], where)) from None


def with_defaults(model: type[BaseModel], block: Any, where: str) -> dict[str, Any]:
    """Validate a block. Return its options as written, with defaults for the missing ones."""
    return {**dict(validate(model, block, where)), **block}


def refuse_near_misses(block: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise ValueError for the first key that is not a known option but resembles one."""
    known = list(known)
    for key in block:
        if key not in known and (name := _near_miss(str(key), known)):
            raise ValueError(f"unknown option {key!r}; did you mean {name!r}?")


def refuse_text_numbers(value: Any) -> None:
    """Raise ValueError for the first number, at any depth, that YAML reads as text, such as 1e-4."""
    for where, leaf in _leaves(value):
        if hint := _text_hint(leaf):
            raise ValueError(f"{where}expected a number, got {leaf!r}{hint}")


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (prefix, value) for each value in nested mappings and lists. The prefix lists the keys: 'optim_g: lr: '."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{where}{key}: ")
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item, where)
    else:
        yield where, value


def _near_miss(key: str, known: Sequence[str]) -> str | None:
    lower = key.lower().replace("-", "_")
    for name in known:
        # such as `validation` for `val`
        if len(name) > 2 and lower.startswith(name) and lower[len(name) :].isalpha():
            return name
    close = difflib.get_close_matches(lower, known, n=1, cutoff=0.8)
    return close[0] if close else None


# --- models derived from signatures


def check_arguments(cls: Callable[..., Any], given: Mapping[str, Any], where: str) -> None:
    """Raise LIIFError unless `given` are valid arguments of a class or function, see `arguments_model`."""
    validate(arguments_model(cls), dict(given), where)


@cache
def arguments_model(cls: Callable[..., Any]) -> type[Block]:
    """Derive a model of the arguments of a constructor or function from its signature and docstring.

    Annotations such as `Annotated[int, Field(ge=0)]` set the range of an argument. Otherwise, integers must be at least
    1 and floats at least 0. The upper limit is 10 000 unless the annotation sets another one. Arguments without
    annotation may have any value, except numbers written as text and numbers above 10 000. Descriptions come from the
    `Args:` section of the docstring.
    """
    hints = get_type_hints(cls.__init__ if isinstance(cls, type) else cls, include_extras=True)  # type: ignore[misc]
    parameters = inspect.signature(cls).parameters.values()
    descriptions = argument_descriptions(inspect.getdoc(cls) or "")
    fields: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        hint = _argument_hint(hints.get(parameter.name, Any))
        fields[parameter.name] = (hint, Field(default, description=descriptions.get(parameter.name)))
    takes_more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return create_model(cls.__name__, __base__=OpenBlock if takes_more else Block, **fields)


def argument_descriptions(doc: str) -> dict[str, str]:
    """Parse the `Args:` section of a docstring and return `{name: description}`."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", doc, re.MULTILINE)
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", section[1].rstrip() if section else ""):
        names, colon, text = entry.strip().partition(": ")
        if colon:
            text = " ".join(text.split())
            text = text if ". " in text else text.removesuffix(".")
            found |= dict.fromkeys(names.split(", "), text)
    return found


def _argument_hint(hint: Any) -> Any:
    """Return the type hint of an argument, made strict and with the limits that `arguments_model` describes."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [bound for extra in parts[1:] for bound in (extra, *getattr(extra, "metadata", ()))]
        bounded = any(isinstance(bound, (Le, Lt)) for bound in bounds)
        return hint if bounded or parts[0] not in (int, float) else Annotated[(hint, Field(le=LARGEST_ARGUMENT))]
    if origin in (Union, UnionType):
        return Union[tuple(_argument_hint(part) for part in parts)]  # noqa: UP007
    if origin in (list, tuple, Sequence):
        return Annotated[list[_argument_hint(parts[0])], BeforeValidator(_as_list)]  # type: ignore[misc]
    if hint is int:
        return Annotated[int, Field(ge=1, le=LARGEST_ARGUMENT)]
    if hint is float:
        return Annotated[float, Field(ge=0, le=LARGEST_ARGUMENT)]
    if hint is str:
        return Text
    if hint in (bool, NoneType) or origin is Literal or isinstance(hint, type) and issubclass(hint, BaseModel):
        return hint
    if origin in (dict, Mapping):
        return Annotated[dict[str, Any], AfterValidator(_limited)]
    return Annotated[Any, AfterValidator(_limited)]


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _limited(value: Any) -> Any:
    """Return `value`. Raise ValueError if it contains a number written as text or outside [-10 000, 10 000]."""
    refuse_text_numbers(value)
    for where, leaf in _leaves(value):
        if isinstance(leaf, (int, float)) and not abs(leaf) <= LARGEST_ARGUMENT:
            raise ValueError(f"{where}expected a number from -{LARGEST_ARGUMENT} to {LARGEST_ARGUMENT}, got {leaf!r}")
    return value


# --- messages


class _QuietSchema(GenerateJsonSchema):
    """Omits defaults that JSON lacks, such as classes, without a warning."""

    ignored_warning_kinds = {*GenerateJsonSchema.ignored_warning_kinds, "non-serializable-default"}


def _explain(model: type[BaseModel], block: Any, problem: ErrorDetails, where: str) -> str:
    """Format a pydantic error as one line that contains the option, the problem and the remedy.

    If an item of a list is invalid, the message names the option that contains the list.
    """
    schema = model.model_json_schema(schema_generator=_QuietSchema)
    defs = schema.get("$defs", {})
    kind, loc = problem["type"], problem["loc"]
    of_block = kind in ("missing", "extra_forbidden")  # then the last part of the location is a name in the block
    value, accepted, prefix = block, schema, f"{where}: " if where else ""
    for key in loc[:-1] if of_block else loc:  # names of options, indices in lists, and a union's tag: its `type`
        if isinstance(key, str) and isinstance(value, Mapping) and key in value and key != value.get("type"):
            parent = _block_schema(accepted, value, defs)
            accepted = parent.get("properties", {}).get(key) or parent.get("additionalProperties") or {}
            value, prefix = value[key], f"{prefix}{key}: "
        elif of_block and isinstance(key, int):
            value = value[key]
    if of_block:
        name, known = str(loc[-1]), _block_schema(accepted, value, defs)["properties"]
        if kind == "extra_forbidden":
            return f"{prefix}unknown option {name!r}{suggest(name, known)}"
        return f"{prefix}option {name!r} is missing{similar(name, [key for key in value if key not in known])}"
    if kind == "value_error":
        return prefix + str(problem["ctx"]["error"])
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        given = value.get("type")
        return f"{prefix}type: unknown type {given!r}{suggest(given, accepted['discriminator']['mapping'])}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{prefix}expected a block of options, got {value!r}"
    if "anyOf" in accepted and "expected" not in accepted:
        accepted = {"anyOf": [part for part in accepted["anyOf"] if part.get("type") != "null"]}
    return f"{prefix}expected {describe(accepted, defs)}, got {value!r}{_text_hint(value)}"


def _block_schema(schema: Mapping[str, Any], block: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the JSON schema of a block's options, given a schema that may be a reference, a union or a list."""
    if "items" in schema:
        schema = schema["items"]
    if "discriminator" in schema:
        schema = {"$ref": schema["discriminator"]["mapping"][block["type"]]}
    if "anyOf" in schema:
        schema = next((part for part in schema["anyOf"] if "$ref" in part or part.get("type") == "object"), {})
    return defs[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def similar(name: str, given: Iterable[Any]) -> str:
    """Return the end of a message about a missing option: a hint at a similar name in `given`, or ''."""
    close = difflib.get_close_matches(name, map(str, given), n=1)
    return f"; did you misspell it as {close[0]!r}?" if close else ""


def _text_hint(value: Any) -> str:
    """Return the end of a message about a value that is, or contains, a number written as text. Otherwise return ''."""
    for _, leaf in _leaves(value):
        if isinstance(leaf, str) and NUMBER_TEXT.fullmatch(leaf.strip()):
            remedy = "remove the quotes" if leaf.strip().isdecimal() else f"write !!float {leaf.strip()}"
            return f"; YAML reads {leaf!r} as text, so {remedy}"
    return ""


def describe(schema: Mapping[str, Any], defs: Mapping[str, Any], plural: bool = False) -> str:
    """Describe in words the values that a JSON schema accepts, such as 'an integer of at least 1'.

    Args:
        schema: the JSON schema.
        defs: definitions (`$defs`) that `schema` refers to.
        plural: use the plural, such as 'integers of at least 1'.
    """
    if "expected" in schema:
        return schema["expected"]
    if "$ref" in schema:
        return describe(defs[schema["$ref"].rpartition("/")[2]], defs, plural)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(describe(part, defs, plural) for part in schema["anyOf"]))
    if "const" in schema:
        const = schema["const"]
        return str(const).lower() if isinstance(const, bool) else repr(const)
    if "enum" in schema:
        return ("" if plural else "one of ") + ", ".join(map(str, schema["enum"]))
    kind = "object" if "oneOf" in schema else schema.get("type")  # a union of blocks, or a type
    if kind in ("integer", "number"):
        kind = "whole number" if schema.get("multipleOf") == 1 else kind
        noun = f"{kind}s" if plural else f"an {kind}" if kind == "integer" else f"a {kind}"
        return noun + _bounds(schema)
    if kind == "array":
        return ("lists of " if plural else "a list of ") + describe(schema.get("items", {}), defs, plural=True)
    singular = {"boolean": "true or false", "string": "a string", "object": "a block of options", "null": "~"}
    several = {"string": "strings", "object": "blocks of options"}
    return (several if plural and kind in several else singular).get(str(kind), "values" if plural else "a value")


def _bounds(schema: Mapping[str, Any]) -> str:
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if highest == LARGEST_INTEGER:
        highest = None
    if lowest is not None and highest is not None:
        return f" from {lowest} to {highest}"
    parts = [
        f" above {above:g}" if above is not None else f" of at least {lowest:g}" if lowest is not None else "",
        f" below {below:g}" if below is not None else f" of at most {highest:g}" if highest is not None else "",
    ]
    return " and".join(part for part in parts if part)
