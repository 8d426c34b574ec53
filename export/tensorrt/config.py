"""Settings of a build: profile, memory, timing cache, targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.tensorrt.network import Network
from export.tensorrt.options import EngineOptions
from runtime.console import warn
from runtime.engines.tensorrt import INPUT
from runtime.errors import UserError
from runtime.files import atomic_path

MIB = 1 << 20


def make_config(library: Any, network: Network, options: EngineOptions) -> Any:
    """Return the library's configuration for a build.

    Args:
        library: TensorRT or TensorRT-RTX.
        network: What is built.
        options: How.

    Raises:
        UserError: The library cannot build for the compute capability.
    """
    config = network.builder.create_builder_config()
    if options.workspace_mb is not None:
        pool = library.MemoryPoolType.WORKSPACE
        config.set_memory_pool_limit(pool, options.workspace_mb * MIB)
    if options.optimisation_level is not None:
        config.builder_optimization_level = options.optimisation_level
    if options.kind == "tensorrt-rtx":
        # Memory comes from us alone then, without which a run cannot be captured as a CUDA graph.
        config.set_flag(library.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if options.compute_capability is not None:
        set_target(library, config, options.compute_capability)
    if network.frame_shape[0] < 0:
        add_profile(network, config, options.batch)
    if options.timing_cache is not None and options.kind == "tensorrt":
        load_timing_cache(config, options.timing_cache)
    return config


def batch_of(network: Network, options: EngineOptions) -> tuple[int, int, int]:
    """Return the smallest, best and largest number of frames of the engine to be."""
    frames = network.frame_shape[0]
    return options.batch if frames < 0 else (frames, frames, frames)


def add_profile(network: Network, config: Any, batch: tuple[int, int, int]) -> None:
    """Say how many frames the engine shall take, and for how many it shall be fast.

    Raises:
        UserError: The library does not accept the numbers.
    """
    profile = network.builder.create_optimization_profile()
    profile.set_shape(INPUT, *((frames, *network.frame_shape[1:]) for frames in batch))
    if config.add_optimization_profile(profile) < 0:
        raise UserError(f"the library refuses batches of {batch}: give others")


def set_target(library: Any, config: Any, compute_capability: str) -> None:
    """Build for one compute capability alone.

    Raises:
        UserError: The library has no such target.
    """
    known = {
        f"{name[2:-1]}.{name[-1]}": value
        for name, value in vars(library.ComputeCapability).items()
        if name.startswith("SM")
    }
    if compute_capability not in known:
        raise UserError(
            f"compute capability {compute_capability} is no target of TensorRT-RTX "
            f"{library.__version__}: choose one of {', '.join(known)}, or none for all from 8.0 on"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(known[compute_capability], 0)


def load_timing_cache(config: Any, path: Path) -> None:
    """Let a build use the timings in a file, and keep its own.

    Timings of another GPU or version are of no use; the build then starts without.

    Raises:
        UserError: The file cannot be read.
    """
    content = b""
    if path.exists():
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"timing cache {path} cannot be read ({error.strerror}): give another file"
            ) from error
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        warn(f"{path} holds no timings of this GPU and version: the build starts without")
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def save_timing_cache(config: Any, path: Path) -> None:
    """Write the timings of a build, and those it began with."""
    cache = config.get_timing_cache()
    if cache is not None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(bytes(cache.serialize()))
