"""Devices and threads: what is there is used, what is not is refused."""

import os

import cv2
import pytest
import torch

from kptalk.device import DEVICES, pick_device, set_threads, side_by_side, usable_cores
from kptalk.errors import OptionError


def test_auto_gives_a_device_that_computes():
    assert torch.ones(2, device=pick_device("auto")).sum() == 2


def test_cpu_is_always_there():
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cuda:0", "tpu"])
def test_unknown_devices_are_refused_with_those_there_are(name):
    with pytest.raises(OptionError, match=", ".join(DEVICES)):
        pick_device(name)


@pytest.mark.parametrize(
    ("name", "there"), [("cuda", torch.cuda.is_available), ("mps", torch.backends.mps.is_available)]
)
def test_devices_that_are_not_here_are_refused(name, there):
    if there():
        assert pick_device(name).type == name
    else:
        with pytest.raises(OptionError, match="use cpu"):
            pick_device(name)


def test_cuda_comes_before_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto").type == "cuda"


def test_usable_cores_are_within_the_machine():
    assert 1 <= usable_cores() <= os.cpu_count()


@pytest.fixture(autouse=True)
def threads_restored():
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.mark.parametrize(
    ("cores", "threads", "pieces"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 2), (8, 4, 2), (64, 4, 4)]
)
def test_threads_and_pieces_of_work_fill_the_cores_but_no_more(monkeypatch, cores, threads, pieces):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("kptalk.device.usable_cores", lambda: cores)
    assert set_threads() == threads
    assert cv2.getNumThreads() == threads
    assert side_by_side() == pieces
    assert pieces * threads <= cores


def test_the_users_own_number_of_threads_is_kept_and_not_multiplied(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr("kptalk.device.usable_cores", lambda: 64)
    torch.set_num_threads(2)  # what torch makes of the variable when it starts
    assert set_threads() == 2
    assert side_by_side() == 1
