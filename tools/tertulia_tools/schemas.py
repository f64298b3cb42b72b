"""JSON Schemas as a model should see them: nothing but what helps to call the tool right."""

from typing import Any, cast

Schema = dict[str, Any]


def tidied(schema: Schema) -> Schema:
    """Return a schema without titles, `$defs` and nulls; an object says whether it takes other properties."""
    definitions: Schema = schema.get("$defs", {})
    return cast(Schema, _tidy({key: value for key, value in schema.items() if key != "$defs"}, definitions))


def closed(schema: Schema) -> Schema:
    """Return a tidied schema of arguments that refuses what it does not name; what is off by default is left unsaid."""
    tidy = tidied(schema)
    properties = {
        name: {key: value for key, value in part.items() if key != "default" or value not in (False, [])}
        for name, part in cast(Schema, tidy.get("properties", {})).items()
    }
    return {**tidy, "properties": properties, "additionalProperties": False}


def outlined(schema: Schema) -> Schema:
    """Return a tidied schema of a result that says what there is and of which type.

    A result explains itself when it is there; what a schema says of it beforehand takes room in every request.
    """
    tidy = tidied(schema)
    properties = {name: _type(part) for name, part in cast(Schema, tidy.get("properties", {})).items()}
    return {"type": "object", "properties": properties, "required": tidy.get("required", [])}


def _type(schema: Schema) -> Schema:
    kept: Schema = {"type": schema["type"]}
    if "items" in schema:
        kept["items"] = {"type": schema["items"]["type"]}
    return kept


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
