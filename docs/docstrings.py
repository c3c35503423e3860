"""Makes docstrings fit for Markdown when the site is built: Sphinx's roles, usage texts, brackets side by side."""

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|mod):(?=`)")
BRACKETS = re.compile(r"\](\s*)\[")  # Markdown takes the second pair for the address of a link


class Docstrings(Extension):
    """Changes the docstring of each module, class and function that is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change one docstring."""
        if obj.docstring is None:
            return
        text = ROLE.sub("", obj.docstring.value)
        if "\nsemicycle " in text:  # a command's usage, line by line
            first, rest = text.split("\n", 1)
            text = first + "\n" + "".join(f"    {line}\n" for line in rest.splitlines())
        else:
            text = BRACKETS.sub(r"]\1\\[", text)
        obj.docstring.value = text
