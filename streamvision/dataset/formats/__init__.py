"""Readers and writers of data set formats, a module each: ``recognised(path)`` and ``read(options, findings)``."""
