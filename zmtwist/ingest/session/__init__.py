"""One monitor's events as they unfold: what its worker says, turned into changes to rows. Pure."""
