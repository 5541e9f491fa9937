"""The stages of the law, one a file, each a `run(pricing)` that `loyalty.quote` calls in order."""
