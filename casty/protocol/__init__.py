"""Pure machines and values: what a cluster decides, without a clock, a task or a socket."""
