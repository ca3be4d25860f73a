"""What `scripts/bench` measures: jobs of ours, the same jobs by others, and the table of both."""
