"""A page for every registered model, written when the site is built: none can be forgotten."""

import inspect
from pathlib import Path

import yaml

from mil.models import MODELS, model_names


def presets(cls: type) -> str:
    """Return a list of a model's published forms, as they are written in a configuration."""
    if not cls.presets:
        return ""
    parts = ["## Published forms\n", "`preset:` of an experiment takes one of them.\n"]
    for name, preset in cls.presets.items():
        written = {"model_options": dict(preset.options), "training": dict(preset.training)}
        written = {key: value for key, value in written.items() if value}
        text = yaml.safe_dump(written, sort_keys=False) if written else "# as it is without\n"
        parts.append(f"`{name}`:\n\n```yaml\n{text}```\n")
    return "\n".join(parts)


def page(name: str) -> str:
    """Return the page of a model: its docstring, what it reads, its published forms."""
    cls = MODELS.find(name)
    reads = ", ".join(["features", *cls.needs, *["regions"] * cls.reads_regions])
    scores = {
        "attention": "weights: their softmax over a bag says how much an instance counts",
        "evidence": "read as they are: higher is more evidence",
    }[cls.scores_are]
    return f"""# {name}

```{{eval-rst}}
.. autoclass:: {cls.__module__}.{cls.__name__}
```

Reads: {reads}. Instance scores: {scores}. {
        "The order of instances does not matter."
        if cls.order_free
        else "The order of instances matters."
    }

{presets(cls)}"""


def summary(name: str) -> str:
    """Return the first sentence of a model's docstring."""
    first = inspect.getdoc(MODELS.find(name)).splitlines()[0]
    return first.rstrip(".")


def index() -> str:
    """Return the page that lists the models."""
    rows = "\n".join(f"| [{name}]({name}.md) | {summary(name)} |" for name in model_names())
    toc = "\n".join(model_names())
    return f"""# Models

A model turns a bag into an embedding and scores its instances; any head predicts from it. In a
configuration it is `model:` of an experiment, in Python `mil.models.build_model(name, width)`.

| name | what it is |
|---|---|
{rows}

```{{toctree}}
:hidden:

{toc}
```
"""


def write(app) -> None:
    """Write the pages below ``docs/models`` (event ``builder-inited``)."""
    folder = Path(app.srcdir) / "models"
    folder.mkdir(exist_ok=True)
    pages = {"index": index(), **{name: page(name) for name in model_names()}}
    for old in folder.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def setup(app) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
