"""/openapi.json, made of the table of routes and the models of what is asked and answered."""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from scaler import __version__
from scaler.answers import ErrorAnswer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JSON = "application/json"
TOKEN = "token"  # noqa: S105 - the name of a scheme


@dataclass(frozen=True, slots=True)
class Route:
    """One route: who answers it, and how it is told to others."""

    method: str
    path: str
    handler: Handler
    answer: type[BaseModel] | None
    """None: not JSON."""
    body: tuple[type[BaseModel], ...] = ()
    """Models of the body, one of which it must be."""
    query: dict[str, str] = field(default_factory=dict)
    """Parameters of the query and what they mean."""
    stores: bool = False
    """Needs the token."""
    for_all: bool = False
    """Open to every client certificate of the authority, whatever its name."""
    also: dict[int, type[BaseModel]] = field(default_factory=dict)
    """Answers of other statuses that are not an ErrorAnswer."""


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of some routes."""
    listed = list(routes)
    models = {ErrorAnswer} | {
        model for route in listed for model in (route.answer, *route.body, *route.also.values()) if model
    }
    by_name = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(model, "validation") for model in by_name], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Any] = {}
    for route in listed:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Foresail", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {TOKEN: {"type": "http", "scheme": "bearer", "description": "http_token_file"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    summary = (route.handler.__doc__ or "").strip().splitlines()[0]
    said: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": summary,
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in _names(route)),
            *(
                {"name": name, "in": "query", "required": False, "schema": {"type": "string"}, "description": text}
                for name, text in route.query.items()
            ),
        ],
        "responses": {
            "200": {"description": "What was asked for.", "content": _content(route.answer)},
            **{
                str(status): {"description": model.__doc__, "content": _content(model)}
                for status, model in route.also.items()
            },
            "default": {"description": "Refused, and why.", "content": _content(ErrorAnswer)},
        },
    }
    if route.body:
        refs = [_ref(model) for model in route.body]
        schema = refs[0] if len(refs) == 1 else {"oneOf": refs}
        said["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    if route.stores:
        said["security"] = [{TOKEN: []}]
    return said


def _names(route: Route) -> list[str]:
    return re.findall(r"{(\w+)}", route.path)


def _content(model: type[BaseModel] | None) -> dict[str, Any]:
    return {"text/plain": {}} if model is None else {JSON: {"schema": _ref(model)}}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
