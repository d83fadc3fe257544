"""Where code runs: the apps and workers of this process, the request of its task."""
