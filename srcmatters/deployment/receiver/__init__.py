"""The DICOM port: studies arrive by C-STORE, wait in a spool, are read, and their results are sent back."""
