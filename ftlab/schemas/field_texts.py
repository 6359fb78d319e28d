"""Descriptions of the fields of request bodies: the docstrings below them, which pydantic does not keep."""

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from typing import Any

from ftlab.schemas.common import StrictModel


def add_descriptions(schemas: dict[str, Any]) -> None:
    """Add the docstring of each field of a request body to its JSON schema, in `schemas` by the name of the class."""
    for model in _all_below(StrictModel):
        properties = schemas.get(model.__name__, {}).get("properties", {})
        for base in reversed(model.__mro__):
            for name, text in _field_texts(base).items():
                if name in properties:
                    properties[name]["description"] = text


def _all_below(model: type[StrictModel]) -> list[type[StrictModel]]:
    return [found for child in model.__subclasses__() for found in (child, *_all_below(child))]


@cache
def _field_texts(model: type) -> dict[str, str]:
    """The docstrings of the fields that `model` itself declares."""
    return _module_texts(model.__module__).get(model.__name__, {}) if issubclass(model, StrictModel) else {}


@cache
def _module_texts(module: str) -> dict[str, dict[str, str]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: dict(_texts_in(node.body)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _texts_in(body: list[ast.stmt]) -> list[tuple[str, str]]:
    return [
        (field.target.id, inspect.cleandoc(below.value.value).replace("\n", " "))
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    ]
