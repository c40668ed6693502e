"""Settings, wiring, supervisor, command line: where everything is put together, once."""
