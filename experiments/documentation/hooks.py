"""What MkDocs asks while it builds the site; named in mkdocs.yml.

The pages of config keys and of the trials table are made from the code. A link from a page to a file of the repository,
``[failures.py](../workers/failures.py)``, works on GitHub as it stands; in the site it leads to a copy of the file, as
text, since the site is to work without a network.

Invariant: a page that links to a file that is not there can't be built.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from experiments.documentation.config_page import config_page
from experiments.documentation.trials_page import trials_page

GENERATED = {"config.md": config_page, "trials.md": trials_page}
LINK = re.compile(r"\]\(\.\./([^)#\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated, and the repository's files that pages link to."""
    for name, page in GENERATED.items():
        files.append(File.generated(config, name, content=page()))
    repository = Path(config.docs_dir).parent
    linked = {name for file in files.documentation_pages() for name in LINK.findall(file.content_string)}
    for name in sorted(linked):
        path = repository / name
        if path.is_file():  # MkDocs tells of a link to nothing
            files.append(File.generated(config, _copy(name), content=path.read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to the repository's files lead to their copies."""
    return LINK.sub(
        lambda link: f"]({_copy(link[1])})" if files.get_file_from_path(_copy(link[1])) else link[0], markdown
    )


def _copy(name: str) -> str:
    """Where a file of the repository lies in the site; as .txt every browser shows it."""
    return f"source/{name}.txt"
