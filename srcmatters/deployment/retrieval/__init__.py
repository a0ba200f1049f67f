"""Studies from an archive, by DICOMweb or DIMSE."""
