"""A digest of the code behind a stage, so that changed code re-runs what it made, and only that."""

import ast
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

PACKAGES = ("mil", "wsi")


def code_digest(*modules: str) -> str:
    """Return 16 hexadecimal digits that change when the code of a stage changes.

    The sources of the modules and of every module of this project that they import, directly or
    not, are hashed without docstrings, comments and layout: editing prose re-runs nothing.

    Parameters
    ----------
    modules : dotted names, e.g. ``"wsi.extract"``.
    """
    digest = hashlib.sha256()
    for module in sorted(modules_behind(*modules)):
        digest.update(f"{module}\n{_parsed(module)[0]}\n".encode())
    return digest.hexdigest()[:16]


def modules_behind(*modules: str) -> set[str]:
    """Return the modules and every module of this project that they import, directly or not."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(_parsed(module)[1])
    return found


@cache
def _parsed(module: str) -> tuple[str, tuple[str, ...]]:
    """Return a module's code as text and the project's modules that it imports."""
    path = _source(module)
    if path is None:
        raise ModuleNotFoundError(f"{module} is no module of {', '.join(PACKAGES)}")
    tree = ast.parse(path.read_text())
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    imported = {
        name
        for node in ast.walk(tree)
        for name in _imports(node, package)
        if name.split(".")[0] in PACKAGES and _source(name)
    }
    _drop_what_computes_nothing(tree)
    # as source: unlike a dump, it is the same on every Python, whose upgrade re-runs nothing
    return ast.unparse(tree), tuple(sorted(imported))


@cache
def _source(module: str) -> Path | None:
    package, *names = module.split(".")
    spec = importlib.util.find_spec(package)  # of a deeper module, it would import the packages
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent.joinpath(*names)
    files = (path / "__init__.py", path.with_suffix(".py"))
    # `from package.module import function`: function is no module
    return next((file for file in files if file.is_file()), None)


def _imports(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, *filter(None, [node.module])])
        return [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return []


def _drop_what_computes_nothing(tree: ast.Module) -> None:
    """Remove docstrings, and the version: a release that changes no stage re-runs none."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            if isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str):
                node.body = body[1:]
    tree.body = [node for node in tree.body if "__version__" not in _assigned(node)]


def _assigned(node: ast.AST) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]
