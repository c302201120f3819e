"""The browsable page: one HTML file made from the OpenAPI document, without scripts."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from embedpipe.api.codes import CODES

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
details { border: 1px solid #8886; border-radius: .4rem; margin: .4rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; }
pre { overflow-x: auto; background: #8881; padding: .6rem; }
code, pre { font: .9em/1.4 ui-monospace, monospace; }
table { border-collapse: collapse; }
td, th { text-align: left; vertical-align: top; padding: .15rem .8rem .15rem 0; }
.method { display: inline-block; min-width: 4.5rem; font-weight: bold; }
"""


def page(document: dict[str, Any]) -> str:
    """Give the page of an OpenAPI document."""
    info = document["info"]
    tags = "".join(_tag(tag["name"], document) for tag in document["tags"])
    schemas = "".join(
        _details(name, f"<pre>{_json(schema)}</pre>", f"schema-{name}")
        for name, schema in document["components"]["schemas"].items()
    )
    codes = "".join(
        f'<tr id="{escape(code)}"><td><code>{escape(code)}</code></td><td>{escape(title)}</td></tr>'
        for code, title in CODES.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])}</p>"
        "<p>Send the API key in <code>X-API-KEY</code> or as <code>Authorization: Bearer</code>. "
        "The same as data: "
        '<a href="openapi.json">openapi.json</a>.</p>'
        f"{tags}<h2>schemas</h2>{schemas}<h2>problem codes</h2><table>{codes}</table>"
        "</body></html>\n"
    )


def _tag(tag: str, document: dict[str, Any]) -> str:
    operations = "".join(
        _operation(method, path, document)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if tag in operation["tags"]
    )
    return f"<h2>{escape(tag)}</h2>{operations}"


def _operation(method: str, path: str, document: dict[str, Any]) -> str:
    operation = document["paths"][path][method]
    title = f'<span class="method">{method.upper()}</span> <code>{escape(path)}</code>'
    public = " No API key." if operation.get("security") == [] else ""
    shared = document["components"]["responses"]
    parts = [f"<p>{escape(operation['description'])}{public}</p>"]
    if operation["parameters"]:
        rows = "".join(
            f"<tr><td><code>{escape(p['name'])}</code></td><td>{p['in']}</td>"
            f"<td><code>{_json(p['schema'], indent=None)}</code></td></tr>"
            for p in operation["parameters"]
        )
        parts.append(f"<table><tr><th>name</th><th>in</th><th>schema</th></tr>{rows}</table>")
    if "requestBody" in operation:
        parts.append(f"<p>Body: {_links(operation['requestBody'])}</p>")
    responses = {
        status: shared[response["$ref"].rsplit("/", 1)[-1]] if "$ref" in response else response
        for status, response in operation["responses"].items()
    }
    rows = "".join(
        f"<tr><td>{status}</td><td>{escape(response['description'])}</td>"
        f"<td>{_links(response)}</td></tr>"
        for status, response in responses.items()
    )
    parts.append(f"<table><tr><th>status</th><th></th><th>body</th></tr>{rows}</table>")
    summary = f"{title} — {escape(operation['summary'])}"
    return _details(summary, "".join(parts), operation["operationId"], is_html=True)


def _links(holder: dict[str, Any]) -> str:
    links = []
    for media_type, content in holder.get("content", {}).items():
        reference = content.get("schema", {}).get("$ref", "")
        name = escape(reference.rsplit("/", 1)[-1])
        links.append(f'<a href="#schema-{name}">{name}</a>' if name else escape(media_type))
    return ", ".join(links)


def _details(summary: str, body: str, anchor: str, *, is_html: bool = False) -> str:
    shown = summary if is_html else escape(summary)
    return f'<details id="{escape(anchor)}"><summary>{shown}</summary>{body}</details>'


def _json(value: Any, indent: int | None = 2) -> str:
    return escape(json.dumps(value, indent=indent))
