"""Stores of durable state: journals, snapshots and last values, each behind the interfaces of `casty.journal`."""
