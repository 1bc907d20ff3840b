"""Show the doctests of docstrings as code on the site: Markdown would take ``>>>`` for a quotation."""

from __future__ import annotations

import griffe


def fenced(text: str) -> str:
    """Return ``text`` with each doctest in a fence of its own; a blank line ends one."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if not inside and line.startswith(">>> "):
            inside = True
            lines.append("```pycon")
        elif inside and not line.strip():
            inside = False
            lines.append("```")
        lines.append(line)
    return "\n".join([*lines, "```"] if inside else lines)


class Doctests(griffe.Extension):
    """What mkdocs.yml names."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Change the docstring of one object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
