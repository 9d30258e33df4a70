"""Parts of `benchmarks.gibbs_throughput`: peers, check of the law, training step, report, figure."""
