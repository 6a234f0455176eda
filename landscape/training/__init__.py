"""Why is my training stuck? A user's own loop, traced, diagnosed and tried again."""
