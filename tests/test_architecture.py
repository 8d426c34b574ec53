"""The arrows between the packages point one way."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("train", "export", "runtime", "benchmarks")

# Prefixes of the project's modules that a package may import beside its own.
ALLOWED = {
    "runtime": (),
    "benchmarks.metrics": (),
    "benchmarks": ("train", "export", "runtime"),
    "train": ("runtime", "benchmarks.metrics"),
    "export": ("train", "runtime"),
}
# All that is installed beside the standard library where the rule is strict.
THIRD_PARTY = {
    "runtime": {
        *("numpy", "cv2", "lap", "click", "rich", "onnxruntime", "tensorrt", "cuda"),
        "supervision",
    },
    "benchmarks.metrics": {"numpy", "lap"},
}


def modules() -> list[Path]:
    return sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def dotted(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(f"{prefix}.")


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of everything imported, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = parts[: len(parts) - node.level + is_package]
                base = ".".join([*kept, base] if base else kept)
            for alias in node.names:
                # "from benchmarks import metrics" is an import of benchmarks.metrics.
                is_module = (ROOT / base.replace(".", "/") / f"{alias.name}.py").exists()
                is_folder = (ROOT / base.replace(".", "/") / alias.name).is_dir()
                yield node.lineno, f"{base}.{alias.name}" if is_module or is_folder else base


def broken_arrows(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return one line per import that ``module`` may not have."""
    scope = "benchmarks.metrics" if within(module, "benchmarks.metrics") else module.split(".")[0]
    broken = []
    for line, name in imports(ast.parse(source), module, is_package):
        top = name.split(".")[0]
        if top in PACKAGES:
            fine = any(within(name, prefix) for prefix in (scope, *ALLOWED[scope]))
        elif top == "tests":
            fine = False
        elif scope in THIRD_PARTY:
            fine = top in THIRD_PARTY[scope] or top in sys.stdlib_module_names
        else:
            fine = True
        if not fine:
            broken.append(f"{module}:{line} imports {name}")
    return broken


def test_an_empty_module_breaks_nothing():
    assert broken_arrows("", "runtime.x") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("runtime.x", "import torch"),
        ("runtime.x", "def f():\n    from train.models import build"),
        ("runtime.x", "from benchmarks import metrics"),
        ("runtime.sub.x", "from ...train import models"),
        ("runtime.x", "import scipy.optimize"),
        ("benchmarks.metrics.x", "import scipy"),
        ("benchmarks.metrics.x", "from runtime.errors import UserError"),
        ("train.x", "import export.fused"),
        ("train.x", "from benchmarks.timing.latency import measure"),
        ("export.x", "from benchmarks.metrics import clear"),
        ("export.x", "import tests.stub_model"),
    ],
)
def test_the_rule_catches(module, source):
    assert len(broken_arrows(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("runtime.x", "import onnxruntime, json\nfrom runtime.types import Tracks"),
        ("runtime.sub.x", "from ..errors import UserError"),
        ("train.x", "import torch\nfrom benchmarks.metrics import clear\nimport runtime.types"),
        ("export.x", "import train.models"),
        ("benchmarks.x", "from runtime import run\nimport export, train"),
    ],
)
def test_the_rule_allows(module, source):
    assert broken_arrows(source, module) == []


def test_packages_respect_the_arrows():
    files = modules()
    assert len(files) > 20
    broken = [
        line
        for file in files
        for line in broken_arrows(
            file.read_text(encoding="utf-8"), dotted(file), file.name == "__init__.py"
        )
    ]
    assert broken == []
