"""Delivery, tested by breaking it: a feeder (the daemon's outbox without video) and receivers (real servers)."""
