"""The domain and its rules: pure, batched over workloads, without clock, network or torch."""
