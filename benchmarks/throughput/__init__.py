"""What `benchmarks.gibbs_throughput` is made of: peers, check of the law, training, report, figure."""
