"""What a JSON schema finds wrong, as sentences: place, value, what would be right."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from mil.problems import did_you_mean, listed

TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a block of keys",
    "null": "empty",
}
LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
Place = list[str | int]


def schema_problems(
    values: Mapping[str, Any], schema: dict[str, Any]
) -> tuple[list[str], set[str]]:
    """Return a sentence for each thing wrong, in the order of places, and the top keys concerned.

    Parameters
    ----------
    values : what is checked, e.g. a configuration.
    schema : JSON schema, draft 2020-12; a ``title`` says a pattern in words.
    """
    found = [
        finding
        for error in Draft202012Validator(schema).iter_errors(values)
        for finding in _findings(error, list(error.absolute_path), schema)
    ]
    concerned = [place for place, _ in found]
    found += [
        (place, f"{dotted(place)} is {value}; it must be a finite number.")
        for place, value in _leaves(values, [])
        if isinstance(value, float) and not math.isfinite(value) and place not in concerned
    ]
    problems = sorted({(dotted(place), sentence) for place, sentence in found})
    return [sentence for _, sentence in problems], {str(place[0]) for place, _ in found if place}


def resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference within the schema."""
    if "$ref" in schema:
        for key in schema["$ref"].removeprefix("#/").split("/"):
            root = root[key]
        return root
    return schema


def dotted(place: Place) -> str:
    """Return ``experiments[1].head`` for a path of keys and positions."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.lstrip(".") or "the configuration"


def _findings(error: Any, place: Place, root: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        for key in sorted(set(map(str, error.instance)) - set(known)):
            mend = did_you_mean(key, known) or f"; the keys here are {listed(known, 40)}."
            yield [*place, key], f"unknown key {dotted([*place, key])}{mend}"
    elif error.validator == "required":
        for key in error.validator_value:
            if key not in error.instance:
                mend = "it has no default" + (
                    " here" if "then" in error.absolute_schema_path else ""
                )
                yield [*place, key], f"{dotted([*place, key])} is missing; {mend}."
    else:
        name = "propertyNames" in error.absolute_schema_path
        what = f"a key under {dotted(place)}" if name else dotted(place)
        wanted = _describe(error.schema, root)
        yield place, f"{what} is {_shown(error.instance)}; it must be {wanted}{_hint(error)}"


def _describe(schema: dict[str, Any], root: dict[str, Any]) -> str:
    """Say in words what a value must be."""
    schema = resolve(schema, root)
    kinds = _kinds(schema)
    if "title" in schema:
        return schema["title"] + (" or empty" if "null" in kinds else "")
    if "enum" in schema:
        values = ["empty" if value is None else str(value) for value in schema["enum"]]
        return f"one of {', '.join(values)}" if len(values) > 1 else values[0]
    if "anyOf" in schema:
        return " or ".join(_describe(option, root) for option in schema["anyOf"])
    limits = [f"{words} {schema[key]}" for key, words in LIMITS.items() if key in schema]
    if schema.get("minItems") or schema.get("minLength"):
        limits.append("not empty")
    if schema.get("uniqueItems"):
        limits.append("without repeats")
    kind = " or ".join(TYPES[kind] for kind in kinds)
    return f"{kind}, {' and '.join(limits)}" if limits else kind


def _kinds(schema: dict[str, Any]) -> list[str]:
    kinds = schema.get("type", [])
    inner = [kind for option in schema.get("anyOf", []) for kind in _kinds(option)]
    return ([kinds] if isinstance(kinds, str) else kinds) + inner


def _hint(error: Any) -> str:
    """Return the end of a sentence: the nearest allowed word, or why a number is text."""
    value, schema = error.instance, error.schema
    options = (schema, *schema.get("anyOf", []))
    words = [word for option in options for word in option.get("enum", []) if word]
    if isinstance(value, str) and words:
        return did_you_mean(value, map(str, words)) or "."
    if isinstance(value, str) and {"number", "integer"} & {*_kinds(schema)}:
        try:
            plain = f"{float(value):.9f}".rstrip("0").rstrip(".")
        except ValueError:
            return "."
        return f" (it is read as text; write {plain})."
    return "."


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    text = f"the text {value!r}" if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _leaves(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
        if isinstance(inner, Mapping | list):
            yield from _leaves(inner, [*place, key])
        else:
            yield [*place, key], inner
