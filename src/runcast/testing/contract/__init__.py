"""The checks of the store contract, one file per subject; `testing.store_contract` gathers them."""
