from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
from embedpipe.adapters.embedders import cuda
from embedpipe.adapters.embedders.cuda import Device, DriverError


class FakeDriver:
    """Answers as libcuda does: a status each, results through pointers."""

    def __init__(self, *, status: int = 0, devices: int = 1, memory: bool = True) -> None:
        self.status = status
        self.devices = devices
        self.memory_status = 0 if memory else 2
        self.contexts = 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.status

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 13010
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.devices
        return 0

    def cuDeviceGet(self, handle: Any, number: int) -> int:  # noqa: N802
        handle._obj.value = number
        return 0

    def cuDeviceGetName(self, name: Any, size: int, handle: Any) -> int:  # noqa: N802
        name.value = f"A GPU {handle.value}".encode()
        return 0

    def cuDeviceTotalMem_v2(self, total: Any, handle: Any) -> int:  # noqa: N802
        total._obj.value = 24_000
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, handle: Any) -> int:  # noqa: N802
        self.contexts += not self.memory_status
        return self.memory_status

    def cuDevicePrimaryCtxRelease_v2(self, handle: Any) -> int:  # noqa: N802
        self.contexts -= 1
        return 0

    def cuCtxPushCurrent_v2(self, context: Any) -> int:  # noqa: N802
        return 0

    def cuCtxPopCurrent_v2(self, context: Any) -> int:  # noqa: N802
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:  # noqa: N802
        free._obj.value, total._obj.value = 20_000, 24_000
        return 0


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    fake = FakeDriver()
    monkeypatch.setattr(ctypes, "CDLL", lambda *arguments: fake)
    return fake


def test_a_driver_names_its_devices_and_their_memory(library: FakeDriver) -> None:
    library.devices = 2

    found = cuda.driver()

    assert found.cuda_version == "13.1"
    assert found.devices == [Device("A GPU 0", 24_000, 20_000), Device("A GPU 1", 24_000, 20_000)]
    assert library.contexts == 0
    assert cuda.device_name() == "A GPU 0"
    assert cuda.used_bytes() == 4_000


def test_memory_that_cannot_be_asked_is_not_known(library: FakeDriver) -> None:
    library.memory_status = 2

    assert cuda.driver().devices == [Device("A GPU 0", 24_000, None)]
    assert cuda.used_bytes() == 0


@pytest.mark.parametrize(
    ("status", "devices", "reason"),
    [(100, 1, "finds no device"), (0, 0, "finds no device"), (803, 1, r"cuInit gives 803")],
)
def test_a_driver_that_cannot_be_used_says_why(
    library: FakeDriver, status: int, devices: int, reason: str
) -> None:
    library.status, library.devices = status, devices

    with pytest.raises(DriverError, match=reason):
        cuda.driver()

    assert cuda.device_name() == ""
    assert cuda.used_bytes() == 0


def test_no_driver_is_the_first_thing_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*arguments: Any) -> None:
        raise OSError("libcuda.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(ctypes, "CDLL", absent)

    assert cuda.missing() == "no NVIDIA driver: libcuda.so.1 is not found"


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, *arguments: Any) -> Any:
        if Path(name).name == "libonnxruntime_providers_cuda.so":
            raise OSError("libcublasLt.so.13: cannot open shared object file: No such file")
        return FakeDriver()

    monkeypatch.setattr(ctypes, "CDLL", load)

    assert cuda.missing() == "the library libcublasLt.so.13 is not found (driver for CUDA 13.1)"


def test_with_everything_there_the_versions_are_told(
    library: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime.capi

    info = SimpleNamespace(cuda_version="13.0")
    monkeypatch.setattr(onnxruntime.capi, "build_and_package_info", info, raising=False)

    assert cuda.missing() == (
        "the driver runs CUDA up to 13.1, and ONNX Runtime was built for CUDA 13.0"
    )


def test_libraries_are_loaded_first_where_the_runtime_offers_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[str] = []
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: called.append("x"), raising=False)
    cuda.preload()
    monkeypatch.delattr(onnxruntime, "preload_dlls")
    cuda.preload()

    assert called == ["x"]
