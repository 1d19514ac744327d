"""How records belong to clients, client-level privacy, rounds, and the trainer that asks the federated worker."""
