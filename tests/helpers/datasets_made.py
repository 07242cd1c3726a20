"""Datasets written for tests."""

from kptalk.train.shards import write_dataset


def written(clips, folder):
    """Clips as a dataset, named by their number."""
    write_dataset(folder, ((str(number), clip) for number, clip in enumerate(clips)))
    return folder
