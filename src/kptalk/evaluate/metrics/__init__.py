"""One metric or family a file: what it measures, from which paper, in which units."""
