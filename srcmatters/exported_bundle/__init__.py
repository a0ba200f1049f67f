"""What an exported bundle holds, for its writer and its readers: declared rules, monitors, calibration."""
