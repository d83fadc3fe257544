"""Around running code: the process's apps and workers, the task's request."""
