"""Sphinx configuration. Build: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

import os
import re

import sphinx.ext.autosummary
from sphinx.addnodes import desc_signature

import skestnet

project = "skestnet"
author = "The skestnet developers"
copyright = author
version = release = skestnet.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
# The inventories of other projects are fetched on request only, so that the docs build offline.
# Without them the names of foreign classes appear as plain code.
if os.environ.get("SKESTNET_DOCS_ONLINE"):
    extensions.append("sphinx.ext.intersphinx")
intersphinx_mapping = {
    "numpy": ("https://numpy.org/doc/stable/", None),
    "python": ("https://docs.python.org/3/", None),
    "scipy": ("https://docs.scipy.org/doc/scipy/", None),
    "sklearn": ("https://scikit-learn.org/stable/", None),
    "skorch": ("https://skorch.readthedocs.io/en/stable/", None),
    "torch": ("https://docs.pytorch.org/docs/stable/", None),
}

templates_path = ["_templates"]
exclude_patterns = ["_build", "examples"]

# attrs_*: {.cards} before a list, {.dark-light} after an image.
myst_enable_extensions = ["attrs_block", "attrs_inline"]
myst_heading_anchors = 3

# A single backquoted name links to the object of that name, if there is one.
default_role = "py:obj"
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the docstrings give types in words
# "eq. 20" does not end the first sentence, which the summary tables show.
sphinx.ext.autosummary.WELL_KNOWN_ABBREVIATIONS += ("eq.", "eqs.")
# The class template lists the members; numpydoc would list them a second time.
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "plot_",
    "show_signature": False,
    "download_all_examples": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"skestnet {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_sidebars = {"index": [], "changelog": [], "architecture": [], "development": []}
html_theme_options = {
    "logo": {"text": "skestnet"},
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": False,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
}


def quote_fitted_names(app, what, name, obj, options, lines):  # noqa: ARG001
    """Quote the name in ``shape (n_features_in_,)``, which reST takes for a hyperlink."""
    lines[:] = [re.sub(r"shape \((\w+_),", r"shape (`\1`,", line) for line in lines]


def drop_repeated_signatures(app, domain, objtype, content):  # noqa: ARG001
    """Show one signature of a single-dispatch function, not the same one for every type."""
    first, *others = [node for node in content.parent if isinstance(node, desc_signature)]
    for node in others:
        if node.astext() == first.astext():
            content.parent.remove(node)


def setup(app):
    # Before numpydoc (priority 500) turns the docstring into reST.
    app.connect("autodoc-process-docstring", quote_fitted_names, priority=400)
    app.connect("object-description-transform", drop_repeated_signatures)
