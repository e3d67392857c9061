"""A page from a template of this folder, with the one style of all pages."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, context: Mapping[str, Any]) -> str:
    """Return the page; a name that the template uses and the context lacks is an error."""
    environment = Environment(
        loader=PackageLoader("mil", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style = environment.loader.get_source(environment, "style.css")[0]
    return environment.get_template(template).render(style=Markup(style), **context)
