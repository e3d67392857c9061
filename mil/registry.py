"""A registry of classes by name, filled by whatever modules lie in a package."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from mil.problems import InputError, did_you_mean


class UnknownNameError(InputError):
    """A model, head or option that does not exist; the sentence names the nearest right one."""


class Registry:
    """Classes of one kind by name. A new file in ``package`` that registers one is enough.

    Parameters
    ----------
    kind : what is registered, for the sentences (``"model"``, ``"head"``).
    package : dotted name of the package whose modules register themselves when imported.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._classes: dict[str, type] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[type], type]:
        """Return a class decorator that enters the class under ``name``."""

        def enter(cls: type) -> type:
            known = self._classes.get(name)
            if known is not None and known.__qualname__ != cls.__qualname__:
                raise ValueError(f"{self.kind} {name!r} is registered twice: {known} and {cls}.")
            self._classes[name] = cls
            cls.name = name
            return cls

        return enter

    def names(self) -> list[str]:
        """Return the registered names, sorted."""
        if not self._discovered:
            package = importlib.import_module(self.package)
            for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
                importlib.import_module(f"{self.package}.{module.name}")
            self._discovered = True
        return sorted(self._classes)

    def find(self, name: str) -> type:
        """Return the class registered under ``name``.

        Raises
        ------
        UnknownNameError : no such name; the sentence gives the nearest one and all of them.
        """
        names = self.names()
        if name not in names:
            hint = did_you_mean(name, names) or "."
            raise UnknownNameError(
                [f"{self.kind} {name!r} does not exist{hint} Known: {', '.join(names)}."]
            )
        return self._classes[name]

    def build(self, name: str, *args: Any, **options: Any) -> Any:
        """Build the class registered under ``name``; misspelt options are a sentence.

        Raises
        ------
        UnknownNameError : no such name, or an option its constructor does not take.
        """
        cls = self.find(name)
        parameters = list(inspect.signature(cls).parameters)
        wrong = [key for key in options if key not in parameters]
        if wrong:
            own = parameters[len(args) :]
            raise UnknownNameError(
                f"{self.kind} {name!r} has no option {key!r}{did_you_mean(key, own) or '.'} "
                f"Its options: {', '.join(own) or 'none'}."
                for key in wrong
            )
        return cls(*args, **options)
