"""Numbers from out-of-fold predictions: intervals, tests, calibration, prediction sets. Arrays in, arrays out."""
