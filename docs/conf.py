"""The documentation as a site: `make docs` writes it to docs/_build."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

project = "Slide Survival"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",  # formulas without a network
    "docstrings",
    "model_pages",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
napoleon_google_docstring = False
napoleon_custom_sections = [("Shapes", "params_style_none")]
autodoc_typehints = "none"  # in the signature they hide the names
autodoc_default_options = {"class-doc-from": "class"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
html_show_copyright = False
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository, as seen on its page
