"""Parts of `benchmarks.faults`: kinds of faults, and the process that forks the commands."""
