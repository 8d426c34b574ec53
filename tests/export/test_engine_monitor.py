"""Ending a build."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from export.tensorrt import EngineOptions
from export.tensorrt.config import make_config
from export.tensorrt.monitor import interruptible, make_monitor
from export.tensorrt.network import read_network
from runtime.console import progress
from runtime.engines.tensorrt import make_log
from tests.stub_model import write_stub_model


def test_no_library_no_monitor() -> None:
    with progress(shown=False) as bars:
        assert make_monitor(object(), bars, threading.Event()) is None


def test_a_cancelled_build_ends_without_an_engine(tmp_path: Path) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    write_stub_model(tmp_path / "m.onnx")
    log, cancelled = make_log(rtx), threading.Event()
    network = read_network(rtx, "tensorrt-rtx", tmp_path / "m.onnx", log)
    made = make_config(rtx, network, EngineOptions("tensorrt-rtx"))
    with progress(shown=False) as bars:
        watching = make_monitor(rtx, bars, cancelled)
        made.progress_monitor = watching
        assert network.builder.build_serialized_network(network.definition, made) is not None
        assert not bars.tasks
        cancelled.set()
        assert network.builder.build_serialized_network(network.definition, made) is None
    assert any("cancel" in error.lower() for error in log.errors)


def test_ctrl_c_ends_the_work_first() -> None:
    cancelled, ended = threading.Event(), threading.Event()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + 20
        while not cancelled.is_set() and time.monotonic() < deadline:
            time.sleep(0.01)
        ended.set()

    # A process that was started in the background may have been told to ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interruptible(work, cancelled)
    finally:
        signal.signal(signal.SIGINT, before)
    assert cancelled.is_set() and ended.is_set()


def test_results_and_errors_come_back() -> None:
    cancelled = threading.Event()
    assert interruptible(lambda: 7, cancelled) == 7
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0, cancelled)
    assert not cancelled.is_set()
