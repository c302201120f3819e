"""The NVIDIA driver and the CUDA libraries: what is there, and what is missing."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

_DRIVER = "libcuda.so.1"
_NO_DEVICE = 100
_NOT_FOUND = re.compile(r"(\S+\.so[.\d]*): cannot open shared object file")


@dataclass(frozen=True)
class Device:
    """A GPU. `free_bytes` is None where it could not be asked."""

    name: str
    memory_bytes: int
    free_bytes: int | None = None


@dataclass(frozen=True)
class Driver:
    """The driver, the newest CUDA it can run, such as 13.0, and its devices."""

    cuda_version: str
    devices: list[Device]


class DriverError(Exception):
    """The driver cannot be used; says why."""


def driver() -> Driver:
    """Ask the driver for its devices. Raises DriverError.

    Looks at nothing but the driver: that it answers does not mean that a session can start.
    """
    try:
        library = ctypes.CDLL(_DRIVER)
    except OSError:
        raise DriverError(f"no NVIDIA driver: {_DRIVER} is not found") from None
    status = library.cuInit(0)
    if status == _NO_DEVICE:
        raise DriverError("the NVIDIA driver finds no device")
    if status:
        raise DriverError(f"the NVIDIA driver does not start (cuInit gives {status})")
    version, count = ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    library.cuDeviceGetCount(ctypes.byref(count))
    if not count.value:
        raise DriverError("the NVIDIA driver finds no device")
    return Driver(
        cuda_version=f"{version.value // 1000}.{version.value % 1000 // 10}",
        devices=[_device(library, number) for number in range(count.value)],
    )


def device_name() -> str:
    """Give the name of the first device, nothing where there is none."""
    try:
        return driver().devices[0].name
    except DriverError:
        return ""


def used_bytes() -> int:
    """Give what everybody takes on the first device, 0 if it cannot be asked."""
    try:
        device = driver().devices[0]
    except DriverError:
        return 0
    return 0 if device.free_bytes is None else device.memory_bytes - device.free_bytes


def preload() -> None:
    """Load the CUDA libraries, which are Python packages: the dynamic linker does not search them.

    What is missing stays missing; the session then does not start.
    """
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()


def missing() -> str:
    """Say what a session on CUDA lacks, as far as it can be found out."""
    try:
        found = driver()
    except DriverError as exc:
        return str(exc)
    if lacking := _missing_library():
        return f"the library {lacking} is not found (driver for CUDA {found.cuda_version})"
    return (
        f"the driver runs CUDA up to {found.cuda_version}, "
        f"and ONNX Runtime was built for {_built_for() or 'another version'}"
    )


def _device(library: ctypes.CDLL, number: int) -> Device:
    handle = ctypes.c_int()
    library.cuDeviceGet(ctypes.byref(handle), number)
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGetName(name, len(name), handle)
    total = ctypes.c_size_t()
    library.cuDeviceTotalMem_v2(ctypes.byref(total), handle)
    return Device(name.value.decode(errors="replace"), total.value, _free(library, handle))


def _free(library: ctypes.CDLL, handle: ctypes.c_int) -> int | None:
    context = ctypes.c_void_p()
    if library.cuDevicePrimaryCtxRetain(ctypes.byref(context), handle):
        return None
    try:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        library.cuCtxPushCurrent_v2(context)
        status = library.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        library.cuCtxPopCurrent_v2(ctypes.byref(context))
        return None if status else free.value
    finally:
        library.cuDevicePrimaryCtxRelease_v2(handle)


def _missing_library() -> str | None:
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        for name in ("shared", "cuda"):
            ctypes.CDLL(str(folder / f"libonnxruntime_providers_{name}.so"), ctypes.RTLD_GLOBAL)
    except OSError as exc:
        found = _NOT_FOUND.search(str(exc))
        return Path(found[1]).name if found else "of ONNX Runtime for CUDA"
    return None


def _built_for() -> str | None:
    try:
        from onnxruntime.capi import build_and_package_info
    except ImportError:
        return None
    version = getattr(build_and_package_info, "cuda_version", None)
    return f"CUDA {version}" if version else None
