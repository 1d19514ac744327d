"""Findings become a card, and a card becomes HTML, Markdown or JSON. No number is computed here."""
