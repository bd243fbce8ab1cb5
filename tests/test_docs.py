"""What the documentation shows works as it stands there."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_environment_and_its_check_in_the_guide_for_extensions_work():
    environment, check, _ = python_blocks("extending.md")
    names = {"__name__": "guide"}
    exec(environment, names)
    exec(check, names)
    names["test_the_cart_keeps_the_contract"]()


def test_the_session_from_python_in_the_guide_works(capsys):
    exec(python_blocks("extending.md")[-1], {})
    assert capsys.readouterr().out == "['success', 'success']\n"


@pytest.mark.parametrize("page", ["../README.md", "../CONTRIBUTING.md", *(path.name for path in DOCS.glob("*.md"))])
def test_links_lead_somewhere(page):
    text = (DOCS / page).read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert ((DOCS / page).parent / target).exists(), target
