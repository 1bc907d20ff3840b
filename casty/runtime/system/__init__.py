"""What all actors of one system share: the kernel, the event stream, shutdown, figures."""
