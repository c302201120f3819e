"""docs/template.md names every resource of the template, once."""

from __future__ import annotations

import re
from collections import Counter
from fnmatch import fnmatchcase

from tests.template import load_stack
from tests.unit.test_repository import ROOT


def test_the_page_names_every_resource_once_and_no_other() -> None:
    page = (ROOT / "docs" / "template.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    patterns = re.findall(r"`([A-Za-z0-9*]+)`", " ".join(rows))
    resources = load_stack().document["Resources"]

    named = Counter(
        resource for one in patterns for resource in resources if fnmatchcase(resource, one)
    )
    idle = [one for one in patterns if not any(fnmatchcase(name, one) for name in resources)]

    assert sorted(set(resources) - set(named)) == []
    assert [name for name, count in named.items() if count > 1] == []
    assert idle == []
