"""Reproducible benchmarks: what Tidegate reaches beside the bare pipeline, in one and the same run."""
