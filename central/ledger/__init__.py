"""The ledger of the whole chain, its balances and parcels, and the placing of points."""
