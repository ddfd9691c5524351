"""The service: sees load, decides replicas once per step for all workloads, posts; KEDA reads the board."""

__version__ = "0.1.0"
