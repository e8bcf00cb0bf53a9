"""The site, built with `sphinx-build -W --keep-going -n -c docs . docs/_build` in the clone."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # docstrings of this clone, whichever one is installed

project = "fairseq_wsum"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]  # napoleon reads "Args:"
html_theme = "furo"
html_title = project

# The source is the clone, not docs/: then links to README.md and to the recipes are links between
# pages, and links to code are downloads. Sphinx checks both.
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "examples/*/README.md"]
exclude_patterns = [".*", "docs/_build", "build", "data-bin", "outputs", "runs"]  # not searched

myst_heading_anchors = 3  # headings have the anchors that code hosts give them

default_role = "code"  # docstrings write code in single backticks
autodoc_member_order = "bysource"  # the order in which they are best read
# `Rows` is an alias, and the documentation of Python and torch is on the network, which no build
# may need
nitpick_ignore_regex = [("py:class", r"(collections|pathlib|torch)\..*|Tensor|Rows")]


def setup(app):
    # blocks of equations, which docstrings indent after a colon
    app.connect("autodoc-process-docstring", literal_blocks, priority=400)  # before napoleon
    # the front page at the address of the site
    app.connect("build-finished", write_front_page)


def literal_blocks(app, what, name, obj, options, lines):
    for n in range(len(lines) - 2):
        if lines[n].endswith(":") and not lines[n + 1] and lines[n + 2].startswith("    "):
            lines[n] += ":"


def write_front_page(app, error):
    refresh = '<meta http-equiv="refresh" content="0; url=docs/index.html">\n'
    Path(app.outdir, "index.html").write_text(refresh)
