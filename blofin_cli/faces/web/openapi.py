"""The API described: OpenAPI 3.1 out of the same models that judge the requests."""

from functools import cache
from typing import Any

from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from blofin_cli.app.spec import CommandSpec, Effect
from blofin_cli.faces.web.api import methods_of
from blofin_cli.faces.web.calls import (
    LONG,
    NOT_THERE,
    PATHS,
    STATUS,
    TERMINAL,
    served,
    served_names,
)

REF = "#/components/schemas/{model}"
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "hint", "retryable", "details"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "hint": {"type": "string"},
                "retryable": {"type": "boolean"},
                "details": {"type": "object"},
            },
        }
    },
}
JOB = {
    "type": "object",
    "required": ["id", "name", "state"],
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "state": {"enum": ["running", "done", "failed", "cancelled"]},
        "done": {"type": "integer"},
        "total": {"type": "integer"},
        "text": {"type": "string"},
    },
}
INTRODUCTION = (
    "Every command of blofin-cli. Sign in with a browser or POST /login first; the session cookie "
    "authorises a look, and whatever changes something also needs the session's token in "
    "`X-CSRF-Token`. What may raise exposure needs the word a person would type in `X-Confirm`: "
    "the symbol, or LIVE for real money."
)


class ResultSchema(GenerateJsonSchema):
    """Schemas of results as `json_ready` writes them: numbers, or null for what is unknown."""

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """Money is a number."""
        del schema
        return {"type": ["number", "null"]}

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        """NaN is null."""
        del schema
        return {"type": ["number", "null"]}

    def handle_invalid_for_json_schema(
        self, schema: core_schema.CoreSchema, error_info: str
    ) -> JsonSchemaValue:
        """Arrays and other foreign types are whatever they are."""
        del schema, error_info
        return {}


@cache
def description() -> dict[str, Any]:
    """The whole document."""
    from blofin_cli import __version__

    schemas: dict[str, Any] = {"Error": ERROR, "Job": JOB}
    paths: dict[str, Any] = {}
    for name in served_names():
        spec = served(name)
        methods = [method.lower() for method in methods_of(spec)]
        paths[f"/api/{name}"] = {method: _operation(spec, method, schemas) for method in methods}
    paths |= _job_paths()
    return {
        "openapi": "3.1.0",
        "info": {"title": "blofin-cli", "version": __version__, "description": INTRODUCTION},
        "servers": [{"url": "/"}],
        "security": [{"session": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"session": {"type": "apiKey", "in": "cookie", "name": "blofin"}},
        },
    }


def _operation(spec: CommandSpec, method: str, schemas: dict[str, Any]) -> dict[str, Any]:
    asked = _request_schema(spec, schemas)
    answer = {"$ref": "#/components/schemas/Job"} if spec.name in LONG else _result(spec, schemas)
    operation: dict[str, Any] = {
        "operationId": f"{method}_{spec.name.replace('-', '_')}",
        "summary": spec.title,
        "description": f"{spec.help}\n\nEffect: {spec.effect}.",
        "tags": [spec.effect.value],
        "responses": {
            ("202" if spec.name in LONG else "200"): _json(answer, "What the command answers"),
            **_failures(),
        },
    }
    if method == "get":
        operation["parameters"] = [
            {
                "name": name,
                "in": "query",
                "required": name in asked.get("required", ()),
                "description": schema.get("description", ""),
                "schema": {key: value for key, value in schema.items() if key != "description"},
            }
            for name, schema in asked["properties"].items()
        ]
        return operation
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": asked}},
    }
    operation["parameters"] = [_header("X-CSRF-Token", "Token of the session", required=True)]
    if spec.effect is not Effect.SAFE:
        operation["parameters"] += [
            _header("X-Confirm", "The word a person types to agree"),
            _header("X-Passphrase", "Passphrase of the mandate"),
        ]
    return operation


def _request_schema(spec: CommandSpec, schemas: dict[str, Any]) -> dict[str, Any]:
    made = spec.request.model_json_schema(ref_template=REF)
    schemas |= made.pop("$defs", {})
    made.pop("title", None)
    made["properties"] = {
        name: schema
        for name, schema in made.get("properties", {}).items()
        if name not in PATHS | TERMINAL
    }
    return dict(made)


def _result(spec: CommandSpec, schemas: dict[str, Any]) -> dict[str, Any]:
    spec.result.model_rebuild()
    try:
        made = spec.result.model_json_schema(
            ref_template=REF, mode="serialization", schema_generator=ResultSchema
        )
    except PydanticInvalidForJsonSchema:
        return {"type": "object"}
    found = {name: _open(schema) for name, schema in made.pop("$defs", {}).items()}
    schemas |= {f"{name}": schema for name, schema in found.items()}
    schemas[spec.result.__name__] = _open(made)
    return {"$ref": REF.format(model=spec.result.__name__)}


def _open(schema: Any) -> Any:
    """The schema with room for the ISO twins of times, which no model declares."""
    if isinstance(schema, dict):
        return {
            key: _open(value)
            for key, value in schema.items()
            if not (key == "additionalProperties" and value is False)
        }
    return [_open(item) for item in schema] if isinstance(schema, list) else schema


def _header(name: str, about: str, *, required: bool = False) -> dict[str, Any]:
    schema = {"type": "string"}
    return {
        "name": name, "in": "header", "required": required, "description": about, "schema": schema,
    }  # fmt: skip


def _json(schema: dict[str, Any], about: str) -> dict[str, Any]:
    return {"description": about, "content": {"application/json": {"schema": schema}}}


def _failures() -> dict[str, Any]:
    error = {"$ref": "#/components/schemas/Error"}
    codes = {401, NOT_THERE, 405, 413, 431, *STATUS.values()}
    words = {401: "Not signed in", 424: "The exchange failed or refused", 423: "Trading is halted"}
    return {str(code): _json(error, words.get(code, "Refused")) for code in sorted(codes)}


def _job_paths() -> dict[str, Any]:
    job = _json({"$ref": "#/components/schemas/Job"}, "The long command")
    where = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
    token = _header("X-CSRF-Token", "Token of the session", required=True)
    return {
        "/api/jobs/{id}": {
            "get": {
                "operationId": "job",
                "summary": "A long command: progress, then its result",
                "parameters": where,
                "responses": {"200": job, **_failures()},
            },
            "delete": {
                "operationId": "cancel_job",
                "summary": "Cancel a long command",
                "parameters": [*where, token],
                "responses": {"200": job, **_failures()},
            },
        }
    }
