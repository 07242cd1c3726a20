"""Filters of motion, each as a stream."""
