"""Blind side-by-side studies: a page for participants without any server, and the counting of their votes."""
