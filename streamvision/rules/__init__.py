"""Tracks to events."""
