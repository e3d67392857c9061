"""A page for every registered model, written when the site is built: none can be forgotten."""

import inspect
import re
from pathlib import Path

import yaml

from mil.models import MODELS, build_model, model_names
from mil.models.base import BagModel

WIDTH = 64  # of features; what a model reads may hang on its options, so one is built


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
    model = build_model(name, WIDTH)
    reads = ", ".join(["features", *model.needs, *["regions"] * cls.reads_regions])
    classes = f".. autoclass:: {cls.__module__}.{cls.__name__}"
    for base in cls.__bases__:
        if base is not BagModel:  # what it shares with other models, on the page of each
            classes += f"\n\n.. autoclass:: {base.__module__}.{base.__name__}\n   :no-index:"
    order = "does not matter" if model.order_free else "matters"
    scores = {
        "attention": "weights: their softmax over a bag says how much an instance counts",
        "evidence": "read as they are: higher is more evidence",
    }[model.scores_are]
    return f"""# {name}

```{{eval-rst}}
{classes}
```

Reads: {reads}. Instance scores: {scores}. The order of instances {order}.

{presets(cls)}"""


def summary(name: str) -> str:
    """Return the first sentence of a model's docstring."""
    first = inspect.getdoc(MODELS.find(name)).splitlines()[0]
    return re.sub(":math:`(.*?)`", r"$\1$", first).rstrip(".")


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
