"""Series in, forecast out: the distribution of the load that a workload will meet while a new pod starts.

Nothing in here knows Kubernetes, KEDA or the clock. Load comes as `series.History`, questions as `series.Rows`,
answers as `forecast.Quantiles`; each forecaster is one file with `fit` and `predict`.
"""
