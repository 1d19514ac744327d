"""Examples and a schema become a trained model, whatever the way: plain, or a plug-in."""
