"""Random streams through everything that reads a device: `make fuzz`, and a short run in `make test`."""
