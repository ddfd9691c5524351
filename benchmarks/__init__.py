"""Timings, each beside what is wanted."""
