"""A batch on a Ray cluster of three nodes, one of which is killed on the way, against the same batch on this machine.

    python benchmarks/batch_ray.py [--rows 60] [--seconds 2] [--idle 2000]

The nodes are processes of this machine (``ray.cluster_utils``), with one worker each; one is killed when a third of the
rows is done. What Ray adds to a row is measured with a worker that does nothing, on this machine and on the cluster.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import ray
from batch_million import Idle, write_jobs
from batch_speed import write_jobs as write_short_jobs
from ray.cluster_utils import Cluster

import kptalk.batch.run as batch
from kptalk.batch.results import DONE


def outputs(jobs: Path, folder: Path, engine: str, workers: int, cluster: Cluster | None = None) -> dict[str, str]:
    """The digests of a batch's videos; with a cluster one of its nodes is killed meanwhile."""
    found, began = {}, time.perf_counter()
    node = cluster.worker_nodes and sorted(cluster.worker_nodes, key=str)[0] if cluster else None
    for progress in batch.run_batch(jobs, folder, engine=engine, workers=workers):
        if progress.result.status != DONE:
            raise SystemExit(f"row {progress.result.row} failed: {progress.result.error}")
        found[progress.result.output] = progress.result.sha256
        if cluster and node and progress.done >= progress.total // 3:
            cluster.remove_node(node, allow_graceful=False)
            print(f"a node killed after {progress.done} of {progress.total} rows", flush=True)
            node = None
    print(f"{engine}: {len(found)} videos in {time.perf_counter() - began:.1f} s", flush=True)
    return found


def idle(jobs: Path, folder: Path, engine: str, rows: int) -> float:
    """Milliseconds a row with a worker that does nothing."""
    work = batch.run_batch(jobs, folder, engine=engine, workers=1)
    next(work)
    began = time.perf_counter()
    for _ in work:
        pass
    return 1000 * (time.perf_counter() - began) / rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--idle", type=int, default=2000)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as name:
        folder = Path(name)
        jobs = write_short_jobs(folder, arguments.rows, arguments.seconds)
        local = outputs(jobs, folder / "local", "local", 2)
        node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        there = outputs(jobs, folder / "ray", "ray", 3, cluster)
        if there != local or len(local) != arguments.rows:
            raise SystemExit("other videos than on this machine")
        print(f"{len(there)} videos, the same bytes")
        maker, batch.Maker = batch.Maker, Idle  # type: ignore[misc]
        jobs = write_jobs(folder, arguments.idle)
        spent = {engine: idle(jobs, folder / f"idle-{engine}", engine, arguments.idle) for engine in ("local", "ray")}
        batch.Maker = maker  # type: ignore[misc]
        ray.shutdown()
        cluster.shutdown()
    print("\n| engine | ms a row |\n|---|---|")
    for engine, each in spent.items():
        print(f"| {engine} | {each:.2f} |")


if __name__ == "__main__":
    main()
