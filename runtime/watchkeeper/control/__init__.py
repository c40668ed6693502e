"""One turn of the watch, and the only code that may ask for an effect."""
