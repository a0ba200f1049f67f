"""The networks of a study, asked for what their predictions do not tell: encoded attributes and regions."""
