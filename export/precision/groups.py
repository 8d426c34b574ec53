"""Nodes in groups that are lowered or kept together, named after the layers they compute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

# Each takes a graph, a session and a few frames to measure: seconds.
MOST_GROUPS = 24


def layer_groups(node_names: Iterable[str], most: int = MOST_GROUPS) -> dict[str, tuple[str, ...]]:
    """Divide the nodes of a graph by the layers they belong to.

    Where there are more layers than groups wanted, the deepest layers are joined to what holds
    them, the smallest such parts first, so that the rest stays as fine as can be.

    Args:
        node_names: As ``export.onnx_file`` gives them: the layer's path, a slash, the operator.
        most: Groups to return at most; there can be more where the outermost parts are more.

    Returns:
        Names of nodes, in the order given, by the path of the layer; nodes of no layer are each
        named after their operator.

    Raises:
        ValueError: A name is there twice.

    Examples:
        >>> names = ["stem/Conv", "body.0.a/Conv", "body.0.b/Conv", "body.1/Conv", "Exp"]
        >>> list(layer_groups(names))
        ['stem', 'body.0.a', 'body.0.b', 'body.1', 'Exp']
        >>> layer_groups(names, most=4)["body.0"]
        ('body.0.a/Conv', 'body.0.b/Conv')
    """
    paths: dict[str, str] = {}
    for name in node_names:
        if name in paths:
            raise ValueError(f"two nodes are named {name}")
        paths[name] = name.rpartition("/")[0] or name
    while len(set(paths.values())) > most:
        parent = _smallest_deepest(paths)
        if parent is None:
            break
        paths = {
            name: parent if path.startswith(f"{parent}.") else path for name, path in paths.items()
        }
    groups: dict[str, list[str]] = {}
    for name, path in paths.items():
        groups.setdefault(path, []).append(name)
    return {path: tuple(names) for path, names in groups.items()}


def _smallest_deepest(paths: dict[str, str]) -> str | None:
    """Return the layer to join next: among the deepest that hold layers, the one of fewest nodes.

    None when no layer holds another.
    """
    sizes = Counter(path.rpartition(".")[0] for path in paths.values() if "." in path)
    if not sizes:
        return None
    return min(sizes, key=lambda parent: (-parent.count("."), sizes[parent]))
