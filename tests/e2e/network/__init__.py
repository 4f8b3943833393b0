"""Cameras behind bad networks: real RTSP through links that lose, delay, reorder, throttle, break, and change address.

One daemon (`recording.py`, the real command with a notebook) in a network namespace watches all cameras at once. Each
row of `rows.py` is one camera behind its own emulated link (`tests/servers/links.py`), in a second namespace; two
neighbours are on the daemon's own loopback, which has no fault. First all links are clean, then every row's fault
comes at the same moment, then all are healed. What the daemon must say of each row stands in the row.

    pytest tests/e2e/network                                the short form, a link is down for some seconds
    STREAMVISION_TEST_SCALE=full pytest -s tests/e2e/network   30 s down, a minute of each; prints the table

The full form also prints the neighbours' 99th percentile of frame age under the faults beside that without.
"""
