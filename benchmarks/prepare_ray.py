"""Whether ``prepare`` on a Ray cluster of two nodes, one of which is lost on the way, makes the bytes of a local run.

python benchmarks/prepare_ray.py VIDEOS... [--after 0.4]

Both nodes are on this machine, with one core each (``ray.cluster_utils``); the second is killed when a part of the
videos is done.
"""

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from prepare_kills import digests

from kptalk.train.prepare.run import prepare_videos

NODE = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--after", type=float, default=0.4, help="part of the videos")
    arguments = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    with TemporaryDirectory() as temporary:
        local, remote = Path(temporary, "local", "set"), Path(temporary, "ray", "set")
        began = time.monotonic()
        clips = sum(progress.clips for progress in prepare_videos(arguments.videos, local, jobs=2))
        print(f"local: {clips} clips, {time.monotonic() - began:.0f} s")
        cluster = Cluster(initialize_head=True, head_node_args=NODE)
        node = cluster.add_node(**NODE)
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        try:
            began, lost = time.monotonic(), False
            for progress in prepare_videos(arguments.videos, remote, engine="ray", jobs=2):
                for name, reason in progress.left_out:
                    print(f"left out {name}: {reason}")
                if not lost and progress.done > arguments.after * progress.total:
                    cluster.remove_node(node, allow_graceful=False)
                    lost = True
                    print(f"a node was killed after {progress.done} of {progress.total} videos")
            print(f"ray: {time.monotonic() - began:.0f} s")
        finally:
            ray.shutdown()
            cluster.shutdown()
        expected, found = digests(local), digests(remote)
    if not lost or expected != found:
        changed = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise SystemExit(f"other bytes in {', '.join(changed)}")
    print(f"{len(expected)} files: the same bytes")


if __name__ == "__main__":
    main()
