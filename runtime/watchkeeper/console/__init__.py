"""Pages, API and event stream. Knows HTTP, the core words and one port: the Desk."""
