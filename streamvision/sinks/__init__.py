"""Events to the durable outbox, and from there to the outside world."""
