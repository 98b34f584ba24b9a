"""Networks that predict colour: one file per family, and `base`, the interface they share."""
