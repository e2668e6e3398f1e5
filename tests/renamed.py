"""A module of programs with all of their names changed: of arguments, sites and plates, in the source itself."""

import ast
from pathlib import Path
from types import ModuleType

NAMED = ("sample", "plate", "deterministic", "factor", "param", "subsample")


def other(name: str) -> str:
    """Return another name, in reverse alphabetical order; numbers stay, as they tell the sites of a series."""
    return "q" + "".join(chr(ord("a") + ord("z") - ord(c)) if c.isascii() and c.islower() else c for c in name)


class _Renaming(ast.NodeTransformer):
    """Renames the parameters of functions and whatever text names a site or a plate."""

    def __init__(self, parameters: set[str]) -> None:
        self.parameters = parameters

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        own = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
        return _Renaming(self.parameters | own).generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(other(node.arg), node.annotation)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(other(node.id), node.ctx) if node.id in self.parameters else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in NAMED:
            node.args[:1] = [_with_other_text(arg) for arg in node.args[:1]]
        if name == "reparam":
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Dict):
                    keyword.value.keys = [key and _with_other_text(key) for key in keyword.value.keys]
        return self.generic_visit(node)


def _with_other_text(node: ast.expr) -> ast.expr:
    """Return a text, or the first part of one with values in it, as another."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return ast.Constant(other(node.value))
    if isinstance(node, ast.JoinedStr):
        return ast.JoinedStr([_with_other_text(node.values[0]), *node.values[1:]])
    return node


def renamed(path: Path) -> ModuleType:
    """Return a module of programs with other names; its functions keep theirs."""
    tree = ast.fix_missing_locations(_Renaming(set()).visit(ast.parse(path.read_text(encoding="utf-8"))))
    module = ModuleType(f"renamed_{path.stem}")
    exec(compile(tree, f"renamed {path.name}", "exec"), module.__dict__)
    return module
