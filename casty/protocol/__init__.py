"""Pure machines and values: decisions of a cluster, without a clock, a task or a socket."""
