"""Jinja2 environment of the report: every template escapes the values that fill it."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def environment() -> Environment:
    """The environment of the templates in `colocam/report/templates`."""
    return Environment(
        loader=PackageLoader("colocam.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **values: Any) -> str:
    """The text of a template filled with values.

    Args:
        template: its file name.
        values: by the names that the template uses.
    """
    return environment().get_template(template).render(**values)
