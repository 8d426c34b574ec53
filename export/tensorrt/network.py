"""The network: what the library makes of an ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.engines.sidecar import TITLES, Kind
from runtime.engines.tensorrt import INPUT, shorten
from runtime.errors import UserError


@dataclass(frozen=True)
class Network:
    """A parsed graph, with what must live as long as it does.

    Attributes:
        builder: The library's builder.
        definition: The library's network.
        parser: Holds the weights that the network refers to.
    """

    builder: Any
    definition: Any
    parser: Any

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of the input ``[N, H, W, 3]``, N -1 where the graph leaves it open."""
        return tuple(self._input.shape)

    @property
    def _input(self) -> Any:
        return self.definition.get_input(0)


def read_network(library: Any, kind: Kind, onnx_path: Path, log: Any) -> Network:
    """Read an ONNX file into a strongly typed network: each value has the type the graph gives it.

    Args:
        library: TensorRT or TensorRT-RTX.
        kind: Which of the two it is.
        onnx_path: The file.
        log: Logger that keeps errors, see ``runtime.engines.tensorrt.make_log``.

    Raises:
        UserError: The library cannot start here, or cannot build the graph.
    """
    try:
        builder = library.Builder(log)
    except TypeError as error:  # what the bindings make of a builder that is null
        reason = shorten(log.errors[0]) if log.errors else "no reason given"
        raise UserError(
            f"{TITLES[kind]} cannot build here ({reason}): check the driver with nvidia-smi"
        ) from error
    definition = builder.create_network(_network_flags(library))
    parser = library.OnnxParser(definition, log)
    if not parser.parse_from_file(str(onnx_path)):
        raise UserError(
            f"{onnx_path} cannot be built by {TITLES[kind]}: {_first_of(parser, log)}; "
            f"{_advice(parser, kind)}"
        )
    network = Network(builder, definition, parser)
    _check_input(network, onnx_path)
    return network


def _network_flags(library: Any) -> int:
    """Return the flags of a strongly typed network; later versions know no other and no flag."""
    flags = getattr(library, "NetworkDefinitionCreationFlag", None)
    flag = getattr(flags, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _check_input(network: Network, onnx_path: Path) -> None:
    """Refuse graphs that a fused graph's engine could not be made of.

    Raises:
        UserError: There is another input than frames, or frames of any size.
    """
    definition = network.definition
    names = [definition.get_input(index).name for index in range(definition.num_inputs)]
    if names != [INPUT]:
        raise UserError(
            f"{onnx_path} takes {', '.join(names) or 'nothing'} instead of {INPUT}: export it with "
            "kd-export"
        )
    if min(network.frame_shape[1:]) < 1:
        raise UserError(
            f"{onnx_path} takes frames of any size, and an engine needs one size: export it with "
            "a fixed size"
        )


def _first_of(parser: Any, log: Any) -> str:
    """Describe the first error of the parser, with the node, and count the others."""
    if not parser.num_errors:
        return shorten(log.errors[0]) if log.errors else "the parser gives no reason"
    error = parser.get_error(0)
    # The first two lines say what is wrong; the rest repeats it from further outside.
    text = shorten(" ".join(str(error.desc()).splitlines()[:2]))
    node = " ".join(part for part in (error.node_operator(), error.node_name()) if part)
    others = parser.num_errors - 1
    count = f" (and {others} more)" if others else ""
    return f"at {node or 'the graph'}: {text}{count}"


def _advice(parser: Any, kind: Kind) -> str:
    """Say what helps against the parser's errors."""
    operators = {parser.get_error(index).node_operator() for index in range(parser.num_errors)}
    if "DeformConv" in operators:
        return "export it again with --deform plain"
    if operators & {"QuantizeLinear", "DequantizeLinear"}:
        return f"it was quantised for the CPU, export it again with --engine {kind}"
    return "export it again with kd-export, or update the library"
