"""Datasets written for tests."""

from kptalk.train.shards import record_of, write_dataset


def written(clips, folder):
    """Clips as a dataset, named by their number."""
    write_dataset(folder, [record_of(clip, str(number)) for number, clip in enumerate(clips)])
    return folder
