"""What `benchmarks.faults` is made of: kinds of faults, and the process that forks the commands."""
