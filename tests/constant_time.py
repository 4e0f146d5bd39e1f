"""What is wrong with a check of webhooks' secrets: read from the source, before anybody measures it."""

import ast
from collections.abc import Iterator

#: What may see a secret and tells nothing of it but in constant time, or nothing but whether there is one.
SAFE_CALLS = {"compare_digest", "bool"}
#: Methods that stop at the first difference.
HASTY = {"startswith", "endswith", "find", "rfind", "index", "rindex", "count", "__eq__", "__contains__"}
HASTY_MODULES = {"re", "operator", "fnmatch", "difflib"}
COMPARISONS = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.Lt, ast.LtE, ast.Gt, ast.GtE)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def complaints(source: str) -> list[str]:
    """What the functions called `verify`, and those of the module that they hand a secret to, do wrong."""
    tree = ast.parse(source)
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, Function)}
    found: list[str] = []
    for verify in [node for node in ast.walk(tree) if isinstance(node, Function) and node.name == "verify"]:
        if _is_declared_only(verify) or _is_handed_on(verify):
            continue
        if "secret" not in [argument.arg for argument in verify.args.args]:
            found.append(f"line {verify.lineno}: verify has no argument called secret")
        reached = _reached(verify, functions)
        if not any("compare_digest" in _calls(function) for function, _ in reached):
            found.append(f"line {verify.lineno}: nothing is compared by hmac.compare_digest")
        for function, secrets in reached:
            found += _hasty(function, secrets)
    return found


def _is_declared_only(function: Function) -> bool:
    """A protocol's: nothing but a docstring."""
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in function.body)


def _is_handed_on(function: Function) -> bool:
    """`return hooks.verify(hook, secret)`: looked at where it leads."""
    body = [node for node in function.body if not isinstance(node, ast.Expr)]
    last = body[0] if len(body) == 1 else None
    call = last.value if isinstance(last, ast.Return) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "verify"


def _reached(verify: Function, functions: dict[str, Function]) -> list[tuple[Function, set[str]]]:
    """The functions that get to see the secret, each with the names that hold it or what is made of it."""
    todo: list[tuple[Function, set[str]]] = [(verify, {"secret"})]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    reached = []
    while todo:
        function, given = todo.pop()
        mark = (function.name, tuple(sorted(given)))
        if mark in seen:
            continue
        seen.add(mark)
        secrets = _spread(function, given)
        reached.append((function, secrets))
        for call in [node for node in ast.walk(function) if isinstance(node, ast.Call)]:
            called = functions.get(call.func.id) if isinstance(call.func, ast.Name) else None
            if called is not None:
                names = [argument.arg for argument in called.args.args]
                handed = {
                    name for name, value in zip(names, call.args, strict=False) if _holds(value, secrets)
                }
                handed |= {word.arg for word in call.keywords if word.arg and _holds(word.value, secrets)}
                todo += [(called, handed)] if handed else []
    return reached


def _spread(function: Function, given: set[str]) -> set[str]:
    """The names of a function that come to hold something made of the secret."""
    secrets = set(given)
    while True:
        before = len(secrets)
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and _holds(node.value, secrets):
                secrets |= {name for target in node.targets for name in _names(target)}
            if isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value is not None:
                secrets |= set(_names(node.target)) if _holds(node.value, secrets) else set()
            if isinstance(node, ast.For | ast.comprehension) and _holds(node.iter, secrets):
                secrets |= set(_names(node.target))
        if len(secrets) == before:
            return secrets


def _names(target: ast.expr) -> Iterator[str]:
    yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


def _holds(node: ast.AST, secrets: set[str]) -> bool:
    """Whether a value is made of the secret; the outcome of a safe comparison is not."""
    if isinstance(node, ast.Call) and _name_of(node.func) in SAFE_CALLS:
        return False
    if isinstance(node, ast.Name):
        return node.id in secrets
    return any(_holds(child, secrets) for child in ast.iter_child_nodes(node))


def _hasty(function: Function, secrets: set[str]) -> Iterator[str]:
    """Comparisons of the secret that take longer the more of it is right."""
    for node in ast.walk(function):
        if isinstance(node, ast.Compare) and any(isinstance(op, COMPARISONS) for op in node.ops):
            if any(_holds(side, secrets) for side in (node.left, *node.comparators)):
                yield f"line {node.lineno}: the secret is compared by an operator in {function.name}"
        elif isinstance(node, ast.Match) and _holds(node.subject, secrets):
            yield f"line {node.lineno}: the secret is matched in {function.name}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            module = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            hasty = node.func.attr in HASTY or module in HASTY_MODULES
            if hasty and _holds(node, secrets):
                yield f"line {node.lineno}: {node.func.attr} sees the secret in {function.name}"


def _calls(function: Function) -> set[str]:
    return {_name_of(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}


def _name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
