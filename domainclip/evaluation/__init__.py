"""Measuring a model: metrics with intervals, and the report."""
