"""The OpenAPI 3.1 description of the HTTP API, from the models that are served."""

from importlib.metadata import version as package_version
from typing import Any

from dapter.service.inference import Inference
from dapter.service.refused import GRPC_CODES
from dapter.service.tensors import BYTES, TYPES
from dapter.service.wire import BINARY_TYPE, JSON_TYPE, LENGTH_HEADER

PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"enum": [*TYPES, BYTES]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 8},
        "parameters": PARAMETERS,
        "data": {"type": "array", "description": "nested, or flat in row-major order"},
    },
}
SPEC = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {"name": {"type": "string"}, "datatype": {"type": "string"}, "shape": {"type": "array"}},
}
SCHEMAS: dict[str, Any] = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "Live": {"type": "object", "required": ["live"], "properties": {"live": {"type": "boolean"}}},
    "Ready": {"type": "object", "required": ["ready"], "properties": {"ready": {"type": "boolean"}}},
    "Server": {
        "type": "object",
        "required": ["name", "version", "extensions"],
        "properties": {
            "name": {"type": "string"},
            "version": {"type": "string"},
            "extensions": {"type": "array", "items": {"type": "string"}},
        },
    },
    "Model": {
        "type": "object",
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            "inputs": {"type": "array", "items": SPEC},
            "outputs": {"type": "array", "items": SPEC},
        },
    },
    "Request": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": PARAMETERS,
            "inputs": {"type": "array", "items": TENSOR},
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "parameters": PARAMETERS},
                },
            },
        },
    },
    "Response": {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": TENSOR},
        },
    },
}


def describe(inference: Inference) -> dict[str, Any]:
    """The description, a JSON value."""
    name = _parameter("name", {"type": "string", "enum": inference.names()})
    versions = sorted({version for each in inference.names() for version in inference.versions(each)})
    version = _parameter("version", {"type": "string", "enum": versions})
    paths: dict[str, Any] = {
        "/v2": {"get": _operation("What server this is", "Server")},
        "/v2/health/live": {"get": {**_operation("Whether the server runs", "Live"), "security": []}},
        "/v2/health/ready": {"get": {**_operation("Whether requests are taken", "Ready"), "security": []}},
        "/metrics": {"get": _operation("For Prometheus", None)},
        "/openapi.json": {"get": _operation("This description", None)},
    }
    for path, parameters in (
        ("/v2/models/{name}", [name]),
        ("/v2/models/{name}/versions/{version}", [name, version]),
    ):
        paths[path] = {"parameters": parameters, "get": _operation("A model's inputs and outputs", "Model")}
        paths[f"{path}/ready"] = {"parameters": parameters, "get": _operation("Whether it takes requests", "Ready")}
        paths[f"{path}/infer"] = {"parameters": parameters, "post": _infer()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Open Inference Protocol", "version": package_version("dapter")},
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
    }


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _content(schema: str) -> dict[str, Any]:
    return {JSON_TYPE: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _operation(summary: str, schema: str | None) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done"}
    if schema is not None:
        success["content"] = _content(schema)
    errors = {str(status): {"description": code, "content": _content("Error")} for status, code in GRPC_CODES.items()}
    return {"summary": summary, "responses": {"200": success, **errors}}


def _infer() -> dict[str, Any]:
    length = {
        "name": LENGTH_HEADER,
        "in": "header",
        "description": f"bytes of JSON at the beginning of a body of {BINARY_TYPE}",
        "schema": {"type": "integer", "minimum": 1},
    }
    binary: dict[str, Any] = {BINARY_TYPE: {"schema": {}}}
    operation = _operation("Answer images", "Response")
    operation["responses"]["200"]["content"].update(binary)
    body = {"required": True, "content": {**_content("Request"), **binary}}
    return {**operation, "parameters": [length], "requestBody": body}
