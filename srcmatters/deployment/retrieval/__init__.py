"""Studies from an archive that speaks DICOMweb."""
