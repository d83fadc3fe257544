"""Around running code: the process's apps and workers, and the task's request."""
