"""The cluster subsystems: one thin actor per machine, and the handles held by applications."""
