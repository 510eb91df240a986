"""What measures this project, and writes the numbers in its documentation."""
