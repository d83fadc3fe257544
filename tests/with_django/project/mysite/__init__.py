from mysite.celerant import app

__all__ = ["app"]
