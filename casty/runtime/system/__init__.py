"""Common part of all actors of one system: the kernel, the event stream, shutdown, figures."""
