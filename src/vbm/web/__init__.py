"""The web: HTML pages, REST v1, live events and metrics. The only place that imports the web framework."""
