"""Recording and alert rules of Prometheus, with their tests: `make test-rules`."""
