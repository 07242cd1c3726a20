"""Numeric fixtures of the reference, one converted official set for all, groups of tests, and one thread a worker."""

import os
import signal
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import NamedTuple

import pytest
import torch
from hypothesis import settings
from media_shared import PARITY, SHARED, shared_folder
from official_set import publish, unpin
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from kptalk import cli
from kptalk.weights import official

pytest_plugins = ["parity_fixtures", "space_fixtures"]
torch.set_num_threads(1)
# A shell's background jobs ignore Ctrl-C, and hand that on to the programs that are started here.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Two workers that compile librosa's functions at once, or one that is killed meanwhile, leave a cache that crashes.
os.environ["NUMBA_CACHE_DIR"] = f"{gettempdir()}/numba-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
settings.register_profile("kptalk", deadline=None)  # two workers share the cores with whatever else runs
settings.load_profile("kptalk")
FUZZING = "tests/test_fuzz.py"
# What takes seconds to prepare: all official weights, large networks, a wheel, a stranger's videos, a browser.
SLOW_FIXTURES = {"converted", "warping", "decoder", "spectral", "wheel", "stranger", "browser", "minute", "ray_cluster"}


def pytest_configure(config: pytest.Config) -> None:
    """A folder in which all workers keep the weights that are made by rule."""
    if "KPTALK_TEST_WEIGHTS" not in os.environ:
        folder = TemporaryDirectory(prefix="kptalk-rule-")
        os.environ["KPTALK_TEST_WEIGHTS"] = folder.name
        config.add_cleanup(folder.cleanup)
        config.add_cleanup(lambda: os.environ.pop("KPTALK_TEST_WEIGHTS"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


class ByFile(LoadScopeScheduling):
    """Tests of a file run in one worker, so that what a file prepares is prepared once; so do all "official" ones.

    They share the 1.7 GB of converted weights. xdist's own groups (3.8.0) do nothing with pytest 9.
    """

    def _split_scope(self, nodeid: str) -> str:
        name = nodeid.partition("[")[0]
        return "official" if "official" in name else name.partition("::")[0]

    def _assign_work_unit(self, node: WorkerController) -> None:
        """The file with the longest test of all first, while there is enough else to do beside it."""
        if FUZZING in self.workqueue:
            self.workqueue.move_to_end(FUZZING, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real clips, portraits and speech that are not in the repository, or a skip."""
    return shared_folder("data")


@pytest.fixture(scope="session")
def parity() -> Path:
    """Manifests and numeric fixtures: those of the reference systems, otherwise the repository's; see its README."""
    return SHARED / "parity" if (SHARED / "parity").is_dir() else PARITY


@pytest.fixture(scope="session")
def ray_cluster():
    """A Ray cluster of one node with two cores, on this machine; its workers import what the tests do."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = [str(Path(__file__).parent / "helpers"), str(Path(cli.__file__).parents[2])]
        patch.setenv("PYTHONPATH", os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        node = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 100 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster
        ray.shutdown()
        cluster.shutdown()


class Converted(NamedTuple):
    """A complete official set by the weight rule: as published, and converted under ``home``."""

    published: Path
    home: Path
    outcomes: list


@pytest.fixture(scope="session")
def converted(parity) -> Converted:
    """The official folder, and a ``KPTALK_HOME`` that it was converted into; 1.7 GB, gone after the session."""
    with TemporaryDirectory(prefix="kptalk-official-") as name, pytest.MonkeyPatch.context() as patch:
        published, home = Path(name) / "published", Path(name) / "home"
        publish(published, parity)
        patch.setenv("KPTALK_HOME", str(home))
        unpin(patch)
        outcomes = list(official.convert(published))
        patch.undo()
        yield Converted(published, home, outcomes)


@pytest.fixture
def kptalk(monkeypatch, capfd):
    """Runs the program here; gives exit code, stdout, and stderr with all that native libraries write to it."""

    def run(*argv):
        monkeypatch.setattr(sys, "argv", ["kptalk", *map(str, argv)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as done:
            cli.main()
        return (done.value.code or 0, *capfd.readouterr())

    return run
