"""/docs: the API's own description as a page that loads nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)
HEAD = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>kptalk: HTTP API</title></head>
<body><main><h1>kptalk: HTTP API</h1>
<p>For programs there is <a href="/openapi.json">openapi.json</a>. Errors are
<code>{"error": {"code": ..., "message": ...}}</code>.</p>
"""


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """The page."""
    schema: dict[str, Any] = request.app.openapi()
    parts = [HEAD]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(operation.get('description', operation['summary']))}</p>")
            if rows := [*_parameters(operation), *_fields(operation, schema)]:
                parts.append("<table><tr><th>name</th><th>in</th><th>type</th><th></th></tr>")
                parts += [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
                parts.append("</table>")
    return HTMLResponse("\n".join([*parts, "</main></body></html>"]))


def _parameters(operation: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (each["name"], each["in"], _kind(each["schema"]), each.get("description", ""))
        for each in operation.get("parameters", ())
    ]


def _fields(operation: dict[str, Any], schema: dict[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for content in operation.get("requestBody", {}).get("content", {}).values():
        form = schema["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        needed = form.get("required", ())
        for name, each in form["properties"].items():
            about = ("required. " if name in needed else "") + each.get("description", "")
            rows.append((name, "form", _kind(each), about))
    return rows


def _kind(schema: dict[str, Any]) -> str:
    """A type in short: ``integer 64 to 4096``, ``full, crop``, ``file``."""
    for each in schema.get("anyOf", ()):
        if each.get("type") != "null":
            return _kind(each)
    if "enum" in schema or "const" in schema:
        return ", ".join(map(str, schema.get("enum", [schema.get("const")])))
    if "contentMediaType" in schema or schema.get("format") == "binary":
        return "file"
    limits = f" {schema['minimum']} to {schema['maximum']}" if "minimum" in schema and "maximum" in schema else ""
    return f"{schema.get('type', '')}{limits}"
