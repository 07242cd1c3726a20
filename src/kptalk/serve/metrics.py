"""/metrics for Prometheus: jobs, viewers, speed and the worker; no names of anybody or anything."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from kptalk.serve.api import Server, ServerPart

router = APIRouter(tags=["server"])
ENDS = ("completed", "failed", "cancelled")


class _Collector:
    """What the store and the server know now, as Prometheus' metrics."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        server, totals = self._server, self._server.store.totals()
        videos = GaugeMetricFamily("kptalk_videos", "Videos that the server knows, by status.", labels=["status"])
        for status, count in server.store.counts().items():
            videos.add_metric([status], count)
        yield videos
        finished = CounterMetricFamily("kptalk_videos_finished", "Videos that ended, by how.", labels=["status"])
        for status in ENDS:
            finished.add_metric([status], totals.get(f"videos_{status}", 0))
        yield finished
        yield SummaryMetricFamily(
            "kptalk_first_fragment_seconds",
            "From the start of the work on a video until it could be watched.",
            int(totals.get("first_fragments", 0)),
            totals.get("first_fragment_seconds", 0.0),
        )
        yield CounterMetricFamily("kptalk_frames", "Frames of completed videos.", totals.get("frames", 0))
        yield CounterMetricFamily("kptalk_work_seconds", "Work on completed videos.", totals.get("work_seconds", 0))
        yield CounterMetricFamily("kptalk_worker_restarts", "Since the server's start.", server.workers.restarts)
        yield GaugeMetricFamily("kptalk_ready", "Whether the worker is ready.", int(server.workers.ready))
        yield GaugeMetricFamily("kptalk_viewers", "Streams that are open.", server.viewers)
        free = shutil.disk_usage(server.settings.folder).free
        yield GaugeMetricFamily("kptalk_disk_free_bytes", "Of the disk with the videos.", free)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(server: ServerPart) -> Response:
    """Numbers for Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(server))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
