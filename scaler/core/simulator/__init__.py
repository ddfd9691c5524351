"""Clusters under a load: the judge of every policy and the agent's world. Pure, batched, deterministic.

A step is one sync of the HPA. Within it pods move on, the load is served, monitoring reports, a controller answers and
the HPA and KEDA act on the answer. The rules are those of the service: `core.hpa` scales, `core.decision` decides.

Counts are (B,), series are time-major, (T, 1) where all clusters share them or (T, B); int32 in records.
"""
