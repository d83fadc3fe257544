"""One file per way of handing encoded messages to a broker."""
