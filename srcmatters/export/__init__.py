"""From a finished run to a bundle that leaves: networks, declared rules, card, checklist, registration."""
