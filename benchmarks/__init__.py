"""Ratios of time and memory, measured side by side; run as modules from the root of the repository."""
