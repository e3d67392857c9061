"""Our docstrings as Sphinx reads them: numpydoc's sections, a line a parameter.

numpydoc has ``name : type`` and the description below; ours say ``name : description``, since types
stand in the signature. This Sphinx extension moves the description to where it is looked for.
"""

import re

SECTIONS = ("Parameters", "Attributes", "Raises", "Other Parameters")
ENTRY = re.compile(r"^(?P<names>[A-Za-z_*][\w.*]*(, \*{0,2}\w+)*) : (?P<text>.*)$")


def described(lines: list[str]) -> list[str]:
    """Return the lines of a docstring with the descriptions of entries below their names."""
    found, inside = [], False
    for index, line in enumerate(lines):
        if index + 1 < len(lines) and set(lines[index + 1].strip()) == {"-"}:
            inside = line.strip() in SECTIONS
        entry = ENTRY.match(line) if inside else None
        found += [entry["names"], f"    {entry['text']}"] if entry else [line]
    return found


def rewrite(app, what, name, obj, options, lines) -> None:
    """Rewrite a docstring in place (event ``autodoc-process-docstring``)."""
    lines[:] = described(lines)


def setup(app) -> dict[str, bool]:
    """Register with Sphinx, ahead of napoleon, which reads the sections."""
    app.connect("autodoc-process-docstring", rewrite, priority=100)
    return {"parallel_read_safe": True}
