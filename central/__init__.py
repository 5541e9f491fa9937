"""The office: knows the tills, keeps the whole ledger, places points, publishes signed channels."""
