"""Detections to tracks, in seconds."""
