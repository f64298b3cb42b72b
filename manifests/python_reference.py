"""Write the reference of the Python client, from its signatures and docstrings."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

import tertulia
from tertulia.resources.history import History
from tertulia.vocabulary.errors import TertuliaError

RESOURCES: Mapping[str, type[Any]] = {
    "client.agents": tertulia.Agents,
    "client.conversations": tertulia.Conversations,
    "client.messages": tertulia.Messages,
    "client.runs": tertulia.Runs,
    "client.search": tertulia.Search,
    "client.history": History,
}


def reference() -> str:
    """Return the page's generated part: the client, its resources, what they take and return, and the errors."""
    parts = ["## Client", prose(inspect.getdoc(tertulia.Client)), *_methods("Client", tertulia.Client)]
    for name, resource in RESOURCES.items():
        parts += [f"## {name}", prose(inspect.getdoc(resource)), *_methods(name, resource)]
    classes = [value for name, value in _exported() if name not in _described()]
    parts.append("## Models, states and events")
    for value in classes:
        if not issubclass(value, TertuliaError):
            parts += [f"### {value.__name__}", prose(inspect.getdoc(value)), *_fields(value)]
    parts.append("## Errors")
    for value in classes:
        if issubclass(value, TertuliaError):
            parts += [f"### {value.__name__}", prose(inspect.getdoc(value))]
    return "\n\n".join(part for part in parts if part)


def prose(docstring: str | None) -> str:
    """Return a docstring as Markdown: its sections become lists."""
    text = (docstring or "").replace("<", "&lt;")
    before, raises, after = text.partition("\nRaises:\n")
    if not raises:
        return text
    errors = re.sub(r"\n\s+(?!\w+: )", " ", textwrap.dedent(after))
    lines = [re.sub(r"^(\w+): ", r"- `\1`: ", line.strip()) for line in errors.splitlines() if line.strip()]
    return "\n".join([before.rstrip(), "", "Raises:", "", *lines])


def _described() -> set[str]:
    return {"Client", *(resource.__name__ for resource in RESOURCES.values())}


def _exported() -> Iterator[tuple[str, type[Any]]]:
    for name in sorted(tertulia.__all__):
        value = getattr(tertulia, name)
        if inspect.isclass(value):
            yield name, value


def _methods(called: str, owner: type[Any]) -> Iterator[str]:
    for name in vars(owner):
        member: Any = inspect.getattr_static(owner, name)
        function: Any = getattr(member, "__func__", member)
        if name.startswith("_") or not (isinstance(function, FunctionType) or isinstance(member, property)):
            continue
        yield f"### {called}.{name}"
        if isinstance(function, FunctionType):
            yield f"```text\n{_signature(function)}\n```"
        yield prose(inspect.getdoc(member))


def _signature(function: FunctionType) -> str:
    """Return a function's signature as its source has it, without its body."""
    inner = inspect.unwrap(function)
    node = ast.parse(textwrap.dedent(inspect.getsource(inner))).body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    arguments = node.args
    for several in (arguments.posonlyargs, arguments.args):
        several[:] = [one for one in several if one.arg not in {"self", "cls"}]
    shown = ast.unparse(arguments)
    returns = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    kind = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    signature = f"{kind}{node.name}({shown}){returns}"
    if len(signature) <= 100:
        return signature
    each = re.split(r", (?![^\[(]*[\])])", shown)
    return "\n".join([f"{kind}{node.name}(", *(f"    {one}," for one in each), f"){returns}"])


def _fields(owner: type[Any]) -> Iterator[str]:
    """Yield a list of what a class declares: its fields with their types and what stands below them."""
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
    except (OSError, TypeError):
        return
    assert isinstance(node, ast.ClassDef)
    lines: list[str] = []
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            default = "" if statement.value is None else f" = {ast.unparse(statement.value)}"
            lines.append(f"- `{statement.target.id}: {ast.unparse(statement.annotation)}{default}`")
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            if not statement.targets[0].id.startswith("_"):
                lines.append(f"- `{statement.targets[0].id} = {ast.unparse(statement.value)}`")
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and lines:
            said = " ".join(str(statement.value.value).split()).replace("<", "&lt;")
            lines[-1] += f": {said}"
    if lines:
        yield "\n".join(lines)
