"""Case tables from the label files that public radiograph collections come with, by their own columns."""
