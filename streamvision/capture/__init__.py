"""Packets to pictures: open, demux, decode, timestamps, reconnect; one thread per stream."""
