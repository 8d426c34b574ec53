"""Finding the GPU, and saying why there is none."""

from __future__ import annotations

import sys

import pytest

from runtime.engines.cuda import call, find_gpu, import_cuda
from runtime.errors import UserError
from tests.runtime.fake_gpu import FakeCuda, cudaError_t


def test_which_gpu_is_found() -> None:
    gpu = find_gpu(FakeCuda("NVIDIA GeForce RTX 4090", (8, 9)))
    assert (gpu.name, gpu.compute_capability) == ("NVIDIA GeForce RTX 4090", "8.9")


@pytest.mark.parametrize(
    ("driver", "devices", "error", "message"),
    [
        (0, 0, cudaError_t.cudaErrorInsufficientDriver, "there is no NVIDIA driver here"),
        (12060, 0, cudaError_t.cudaErrorInsufficientDriver, r'CUDA 12\.6 .*"cuda-bindings==12\.\*'),
        (13000, 0, cudaError_t.cudaErrorNoDevice, "sees no GPU"),
        (13000, 0, cudaError_t.cudaSuccess, "sees no GPU"),
        (13000, 1, cudaError_t.cudaErrorIllegalAddress, "CUDA failed with cudaErrorIllegalAddress"),
    ],
)
def test_a_gpu_that_cannot_be_used(
    driver: int, devices: int, error: cudaError_t, message: str
) -> None:
    cuda = FakeCuda()
    cuda.driver, cuda.devices, cuda.failing["cudaGetDeviceCount"] = driver, devices, error
    with pytest.raises(UserError, match=message):
        find_gpu(cuda)


def test_missing_bindings_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(UserError, match="pip install cuda-bindings"):
        import_cuda()


def test_the_bindings_have_what_the_fake_pretends() -> None:
    real = pytest.importorskip("cuda.bindings.runtime")
    names = [name for name in vars(FakeCuda) if name.startswith("cuda")]
    assert len(names) > 10 and all(hasattr(real, name) for name in names)
    assert all(hasattr(real.cudaError_t, error.name) for error in cudaError_t)
    assert all(hasattr(real.cudaMemcpyKind, kind.name) for kind in FakeCuda.cudaMemcpyKind)
    assert call(real.cudaDriverGetVersion) >= 0
