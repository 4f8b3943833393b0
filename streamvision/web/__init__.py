"""Health, metrics, API, live view and the page."""
