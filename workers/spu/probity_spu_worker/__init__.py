"""The second engine of the trainer ``encrypted``: SecretFlow's SPU, in which every server runs a program of its own."""
