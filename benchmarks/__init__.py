"""Timings, each printed beside a calibration of the machine it ran on."""
