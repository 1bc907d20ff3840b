"""The cluster subsystems: one thin actor per machine, and the handles that applications hold."""
