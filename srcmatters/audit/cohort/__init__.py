"""A case table and its images, audited without any model: the ladder and the leaks."""
