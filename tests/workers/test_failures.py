"""Whose fault an error of a training is."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.distributed

from workers.failures import MESSAGES, TYPES, classify
from workers.task import CandidateFailure, TrainingStopped

CUDA_HINT = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)


def cuda_error(text: str) -> RuntimeError:
    return torch.AcceleratorError(f"CUDA error: {text}{CUDA_HINT}")


CANDIDATE = [
    (CandidateFailure("loss became nan at epoch 1, step 2"), "loss became nan at epoch 1, step 2"),
    (ValueError("expected 4 channels\nand more"), "ValueError: expected 4 channels"),
    (RuntimeError("Storage size calculation overflowed"), "RuntimeError: Storage size calculation overflowed"),
    (KeyError("stage"), "KeyError: 'stage'"),
    (AssertionError(), "AssertionError"),
    (RecursionError("maximum depth"), "RecursionError: maximum depth"),
    (cuda_error("device-side assert triggered"), "AcceleratorError: CUDA error: device-side assert triggered"),
    (
        cuda_error("an illegal memory access was encountered"),
        "AcceleratorError: CUDA error: an illegal memory access was encountered",
    ),
    (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        "out of memory: CUDA out of memory. Tried to allocate 20.00 GiB.",
    ),
    (cuda_error("out of memory"), "out of memory: CUDA error: out of memory"),
    (
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        "out of memory: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ),
    (MemoryError(), "out of memory: MemoryError"),
]
INFRASTRUCTURE = [
    OSError(28, "No space left on device"),
    FileNotFoundError(2, "No such file or directory", "000000.jpg"),
    ConnectionResetError(104, "Connection reset by peer"),
    EOFError(),
    ImportError("libcudnn.so.9: cannot open shared object file"),
    KeyboardInterrupt(),
    SystemExit(1),
    TrainingStopped("asked to stop at epoch 1, step 1"),
    torch.distributed.DistBackendError("NCCL error: remote process exited"),
    torch.distributed.DistStoreError("timed out after 300000ms"),
    torch.distributed.DistNetworkError("failed to connect"),
    torch.cuda.DeferredCudaCallError("CUDA call failed lazily at initialization with error: ..."),
    RuntimeError("NCCL communicator was aborted on rank 1"),
    RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1"),
    RuntimeError("DataLoader worker (pid 77) is killed by signal: Bus error. It is out of shared memory."),
    RuntimeError("unable to mmap 64 bytes from file </torch_1>: Cannot allocate memory (12)"),
    RuntimeError("No CUDA GPUs are available"),
    RuntimeError("Found no NVIDIA driver on your system."),
    RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu."),
    AssertionError("Torch not compiled with CUDA enabled"),
    cuda_error("unspecified launch failure"),
    cuda_error("uncorrectable ECC error encountered"),
    cuda_error("uncorrectable NVLink error detected during the execution"),
    cuda_error("CUDA-capable device(s) is/are busy or unavailable"),
    cuda_error("no CUDA-capable device is detected"),
    cuda_error("the launch timed out and was terminated"),
    cuda_error("hardware stack error"),
    cuda_error("unknown error"),
]


@pytest.mark.parametrize(("error", "reason"), CANDIDATE, ids=[repr(error)[:60] for error, _ in CANDIDATE])
def test_what_would_fail_anywhere_is_the_candidates(error: BaseException, reason: str) -> None:
    assert classify(error) == ("candidate", reason)


@pytest.mark.parametrize("error", INFRASTRUCTURE, ids=lambda error: repr(error)[:60])
def test_what_would_go_well_elsewhere_is_the_infrastructures(error: BaseException) -> None:
    fault, reason = classify(error)
    assert fault == "infrastructure"
    assert reason.startswith(type(error).__name__) and "\n" not in reason


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_memory_that_really_cannot_be_had_is_the_candidates(library: str) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(10**15) if library == "torch" else np.empty(10**16)
    fault, reason = classify(caught.value)
    assert fault == "candidate" and reason.startswith("out of memory: ") and len(reason) > len("out of memory: ")


def test_a_long_message_becomes_a_short_line() -> None:
    fault, reason = classify(ValueError("\n\n  " + "x" * 100_000 + "\x1b[31m\nmore"))
    assert fault == "candidate"
    assert reason.startswith("ValueError: xxx") and len(reason) < 400 and reason.isprintable()


@pytest.mark.parametrize("name", sorted(name for name in TYPES if not name.startswith("builtins.")))
def test_every_type_of_the_table_is_there_under_its_name(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    assert f"{found.__module__}.{found.__qualname__}" == name


def test_no_message_of_the_table_is_hidden_by_one_before_it() -> None:
    parts = [part for part, _ in MESSAGES]
    assert all(part == part.lower() for part in parts)
    assert not [(part, later) for number, part in enumerate(parts) for later in parts[number + 1 :] if part in later]


def test_torch_is_not_imported_to_classify() -> None:
    code = "import sys, workers.failures as f; f.classify(ValueError()); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
