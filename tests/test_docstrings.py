"""Docstrings say what the code says: every parameter, and every default."""

import dataclasses
import importlib
import inspect
import re

import pytest

numpydoc = pytest.importorskip("numpydoc.docscrape")

MODULES = [
    "skestnet",
    "skestnet.nn",
    "skestnet.spectra",
    "skestnet.templates",
    "skestnet.datasets",
    "skestnet.metrics",
    "skestnet.inspection",
    "skestnet.plotting",
]
NO_DEFAULT = inspect.Parameter.empty


def load(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def is_exception(obj):
    return inspect.isclass(obj) and issubclass(obj, BaseException)


LOADED = {name: module for name in MODULES if (module := load(name)) is not None}
PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in LOADED.values()
    for name in module.__all__
    if hasattr(module, name) and not is_exception(getattr(module, name))
}


def signature_of(obj):
    return {
        name: parameter
        for name, parameter in inspect.signature(obj).parameters.items()
        if name not in ("self", "cls")
    }


def is_own(method):
    return getattr(method, "__module__", "").startswith("skestnet")


def methods_of(cls):
    for name, member in vars(cls).items():
        method = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if name.startswith("_") or not inspect.isfunction(method) or not is_own(method):
            continue
        # The forward of a block takes one tensor; its summary gives the shapes.
        if name != "forward" or len(signature_of(method)) > 1:
            yield name, method


CALLABLES = dict(PUBLIC) | {
    f"{path}.{name}": method
    for path, cls in PUBLIC.items()
    if inspect.isclass(cls)
    for name, method in methods_of(cls)
}


def documented(obj):
    """Parse the parameters: "a, b : int, default=1 and 2" are two."""
    doc = numpydoc.ClassDoc(obj) if inspect.isclass(obj) else numpydoc.FunctionDoc(obj)
    parameters = {}
    for entry in [*doc["Parameters"], *doc["Other Parameters"]] or record_fields(obj, doc):
        names = [name.strip() for name in entry.name.split(",")]
        defaults = default_texts(entry.type, len(names))
        parameters.update(dict(zip(names, defaults, strict=True)))
    return parameters


def record_fields(obj, doc):
    """The arguments of a dataclass or a named tuple are its attributes."""
    is_record = dataclasses.is_dataclass(obj) or hasattr(obj, "_fields")
    return [entry for entry in doc["Attributes"] if is_record and entry.name in signature_of(obj)]


def default_texts(kind, n_names):
    match = re.search(r"default\s*[=:]?\s*(.+)$", kind)
    if not match:
        return [None] * n_names
    texts = re.split(r",? and ", match[1]) if n_names > 1 else [match[1]]
    return texts * n_names if len(texts) == 1 else texts


def same_value(text, value):
    try:
        written = eval(text.strip("`"), {"__builtins__": {}})
    except Exception:
        return text.strip("`") == getattr(value, "__name__", repr(value))
    return type(written) is type(value) and written == value


@pytest.mark.parametrize("name", MODULES)
def test_modules_import(name):
    importlib.import_module(name)


@pytest.mark.parametrize("name", LOADED)
def test_exported_names_exist(name):
    module = LOADED[name]
    assert [export for export in module.__all__ if not hasattr(module, export)] == []
    assert sorted(module.__all__) == sorted(set(module.__all__))


@pytest.mark.parametrize("path", CALLABLES)
def test_every_parameter_is_documented(path):
    obj = CALLABLES[path]
    names = [
        {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + name
        for name, parameter in signature_of(obj).items()
    ]
    assert list(documented(obj)) == names


@pytest.mark.parametrize("path", CALLABLES)
def test_documented_defaults_are_the_real_ones(path):
    obj = CALLABLES[path]
    texts = documented(obj)
    wrong = {}
    for name, parameter in signature_of(obj).items():
        text = texts.get(name)
        if parameter.default is NO_DEFAULT:
            correct = text is None
        else:
            correct = text is not None and same_value(text, parameter.default)
        if not correct:
            wrong[name] = (text, parameter.default)
    assert wrong == {}


@pytest.mark.parametrize("path", PUBLIC)
def test_public_names_have_an_example(path):
    obj = PUBLIC[path]
    doc = numpydoc.ClassDoc(obj) if inspect.isclass(obj) else numpydoc.FunctionDoc(obj)
    assert any(">>>" in line for line in doc["Examples"])


def test_the_rules_find_a_wrong_default():
    def function(a, b=1, c="x", d=1.0):
        """Do it.

        Parameters
        ----------
        a : int
            First.
        b, c : int, default=1 and 'x'
            Others.
        d : float, default=1
            Last.
        """

    texts = documented(function)
    assert texts == {"a": None, "b": "1", "c": "'x'", "d": "1"}
    defaults = {name: p.default for name, p in signature_of(function).items() if name != "a"}
    assert {k: same_value(texts[k], v) for k, v in defaults.items()} == {
        "b": True,
        "c": True,
        "d": False,
    }
