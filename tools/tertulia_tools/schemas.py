"""JSON Schemas for models: they keep only what helps to call a tool correctly."""

from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin

from pydantic import BaseModel

Schema = dict[str, Any]
_TYPES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def tidied(schema: Schema) -> Schema:
    """Return a schema without titles, `$defs` and nulls; an object keeps `additionalProperties` unless that is true."""
    definitions: Schema = schema.get("$defs", {})
    return cast(Schema, _tidy({key: value for key, value in schema.items() if key != "$defs"}, definitions))


def closed(schema: Schema) -> Schema:
    """Return the tidied schema of a tool's arguments, closed to others and without defaults that are false or empty."""
    tidy = tidied(schema)
    properties = {
        name: {key: value for key, value in part.items() if key != "default" or value not in (False, [])}
        for name, part in cast(Schema, tidy.get("properties", {})).items()
    }
    return {**tidy, "properties": properties, "additionalProperties": False}


def outlined(model: type[BaseModel]) -> Schema:
    """Return the schema of a result, with the names and types of its fields only.

    A host sends the schema with every request, while the model can read the result itself when it is there. No field
    is required, since hosts hold the structure of an error (`tertulia_tools.errors`) to the same schema.
    """
    return {
        "type": "object",
        "properties": {name: _type(field.annotation) for name, field in model.model_fields.items()},
    }


def _type(annotation: Any) -> Schema:
    """Return the schema of a field. A result leaves a field out rather than setting it to null."""
    arms: list[Any] = [arm for arm in get_args(annotation) if arm is not NoneType]
    if get_origin(annotation) in {Union, UnionType}:
        (annotation,) = arms
    if get_origin(annotation) is list:
        items = _type(get_args(annotation)[0])
        return {"type": "array"} if items == {"type": "object"} else {"type": "array", "items": items}
    return {"type": _TYPES.get(annotation, "object")}


def _tidy(node: Any, definitions: Schema) -> Any:
    if isinstance(node, list):
        return [_tidy(item, definitions) for item in cast(list[Any], node)]
    if not isinstance(node, dict):
        return node
    schema = cast(Schema, node)
    if "$ref" in schema:
        target = definitions[str(schema["$ref"]).rpartition("/")[2]]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    variants = [variant for variant in schema.get("anyOf", []) if variant != {"type": "null"}]
    if len(variants) == 1:
        schema = {**variants[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
        return _tidy(schema, definitions)
    tidy: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            tidy[key] = {name: _tidy(property, definitions) for name, property in value.items()}
        elif (
            key == "title"
            or (key == "default" and value is None)
            or (key == "additionalProperties" and value is True)
        ):
            continue
        else:
            tidy[key] = _tidy(value, definitions)
    return tidy
