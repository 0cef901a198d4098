"""Settings of the site's build: `tox -e docs`, or `sphinx-build docs build/docs` with the extra `docs` installed."""

from importlib import metadata

project = "taskq"
author = "the taskq authors"
release = metadata.version("taskq-kafka")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
]

default_role = "literal"
"""What single backticks mean in docstrings."""

myst_heading_anchors = 3
"""So deep can a link name a heading: `page.md#its-words`."""

autodoc_member_order = "bysource"
autodoc_typehints = "signature"

nitpicky = True
nitpick_ignore_regex = [
    # names of the standard library, and type variables: there is no page to link to
    (r"py:.*", r"(?!taskq\.).*"),
    # what the public names are made of
    (
        r"py:.*",
        r"taskq\.(app|cron|letters|sending|memory|message|outcome|protocols|result|sendoptions|settings|task|testing)\..*",
    ),
]

html_theme = "furo"
html_title = "taskq"
html_show_sphinx = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
